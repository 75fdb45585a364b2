"""What a training minimizes on a batch: the loss on the labels, with a teacher's and an auxiliary head's where it has them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sparsemod.sequences import Batch
from sparsemod.spec.training import TrainingSpec
from sparsemod.training.auxiliary import auxiliary_of
from sparsemod.training.distillation import taught
from sparsemod.training.resident import Samples
from sparsemod.training.rules import LossFunction


class BatchLoss:
    """The loss of one training of `module`, whose loss on the labels is `own`.

    `samples`: the training samples of a training without augmentation, else None. `finish` removes the hooks from the
    networks. Raises the errors of `taught` and `auxiliary_of`.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: TrainingSpec,
        own: LossFunction,
        seed: int,
        *,
        teacher: nn.Module | None = None,
        samples: Samples | None = None,
    ) -> None:
        self._module, self._own = module, own
        self._auxiliary = auxiliary_of(module, settings, seed)
        self._taught = taught(module, teacher, settings, samples)

    @property
    def trained(self) -> nn.Module:
        """The network with what trains beside it."""
        return (
            self._module if self._auxiliary is None else nn.ModuleList([self._module, *self.beside.values()])
        )

    @property
    def beside(self) -> dict[str, nn.Module]:
        """The modules that train beside the network, by name."""
        return {} if self._auxiliary is None else {"auxiliary": self._auxiliary.head}

    def of(self, x: Batch, indices: Tensor) -> LossFunction:
        """Return the loss of a batch: the samples `x` at `indices`."""
        loss = self._own
        if self._taught is not None:
            loss = self._taught.loss(x, indices, loss)
        return loss if self._auxiliary is None else self._auxiliary.loss(loss, self._own)

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors that the next epoch depends on."""
        return {} if self._auxiliary is None else self._auxiliary.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint's state."""
        if self._auxiliary is not None:
            self._auxiliary.load_state_dict(state)

    def finish(self) -> None:
        """Remove the hooks."""
        for part in (self._taught, self._auxiliary):
            if part is not None:
                part.finish()
