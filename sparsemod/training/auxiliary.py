"""An auxiliary head: a second classifier behind an inner layer, in training only.

Source: Szegedy et al., "Going deeper with convolutions", 2015.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.seeds import derived_seed
from sparsemod.spec.training import TrainingSpec
from sparsemod.training.checkpoint import restore_module
from sparsemod.training.rules import LossFunction

NAME = "auxiliary_head"
"""The method of a network that returns the name of a layer and a head for this layer's outputs."""


class Auxiliary:
    """The auxiliary head of one training of `module`, on its device, with random weights from `seed`.

    The head is no part of the network: evaluation, export and weight files do not contain it. It runs within the forward
    pass of the network, in the same precision; its outputs are float32. `finish` removes the hook from the network.
    """

    def __init__(self, module: nn.Module, weight: float, seed: int) -> None:
        self.weight = weight
        device = next(module.parameters()).device
        create: Any = getattr(module, NAME)
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(derived_seed(seed, "auxiliary"))
            self.layer, self.head = create()
        self._outputs: Tensor | None = None
        self._handle = module.get_submodule(self.layer).register_forward_hook(self._run)

    def _run(self, layer: nn.Module, given: Any, output: Tensor) -> None:
        self._outputs = self.head(output).float() if layer.training else None

    def loss(self, whole: LossFunction, own: LossFunction) -> LossFunction:
        """Return `whole` plus the weighted loss `own` of the head's outputs for the batch that ran last."""

        def mean(outputs: Tensor, targets: Tensor) -> Tensor:
            head_outputs, self._outputs = self._outputs, None
            value = whole(outputs, targets)
            return value if head_outputs is None else value + self.weight * own(head_outputs, targets)

        return mean

    def state_dict(self) -> dict[str, Any]:
        """Return the head's weights and buffers."""
        return dict(self.head.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the head of a checkpoint."""
        restore_module(self.head, state)

    def finish(self) -> None:
        """Remove the hook."""
        self._handle.remove()
        self._outputs = None


def auxiliary_of(module: nn.Module, settings: TrainingSpec, seed: int) -> Auxiliary | None:
    """Return the auxiliary head of a training with these settings, None where its weight is 0.

    Raises InvalidInput for a network without such a head.
    """
    if not settings.auxiliary:
        return None
    if not hasattr(module, NAME):
        raise InvalidInput("training.auxiliary", settings.auxiliary, "0 for a network without auxiliary head")
    return Auxiliary(module, settings.auxiliary, seed)
