"""A training rule with state: errors go back through fixed random matrices."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from sparsemod.spec.methods import RuleConfig
from sparsemod.training.rules import RULES, TrainingRule


class FeedbackConfig(RuleConfig):
    """Keys besides the name."""

    scale: float = Field(
        1.0, gt=0, description="Factor of the matrices' standard deviation, 1 / sqrt(inputs)."
    )


@RULES.register("feedback_alignment")
class FeedbackAlignment(TrainingRule[FeedbackConfig]):
    """Feedback alignment (Lillicrap et al., 2016) for linear layers; other layers as in backpropagation."""

    Config = FeedbackConfig
    layer_by_layer = True  # it replaces the forward of single layers

    def start(self, module: nn.Module, seed: int) -> None:
        """Draw a matrix for each linear layer and install it."""
        self.module, self.matrices = module, []
        generator = torch.Generator().manual_seed(seed)
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                drawn = torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5
                self.matrices.append((self.config.scale * drawn).to(layer.weight.device))
                vars(layer)["forward"] = self._forward(layer, self.matrices[-1])

    def _forward(self, layer: nn.Linear, matrix: Tensor) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            back = linear(x, matrix)  # adds nothing but its gradient with respect to x
            return linear(x.detach(), layer.weight, layer.bias) + (back - back.detach())

        return forward

    def finish(self) -> None:
        """Restore the layers' forward."""
        for layer in self.module.modules():
            vars(layer).pop("forward", None)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that each checkpoint contains."""
        return {str(place): matrix for place, matrix in enumerate(self.matrices)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with a checkpoint's matrices."""
        for place, matrix in enumerate(self.matrices):
            matrix.copy_(state[str(place)])
