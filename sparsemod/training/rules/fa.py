"""Feedback alignment."""

import math
from typing import TYPE_CHECKING, Any

from sparsemod.training.rules.base import RULES, LossFunction
from sparsemod.training.rules.matrices import FeedbackConfig, FeedbackRule

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.sequences import Batch


@RULES.register("fa")
class FeedbackAlignment(FeedbackRule[FeedbackConfig]):
    """The error goes backwards through fixed random weights in place of the layers' own; for any network.

    The random weights of a convolution or linear layer have its weights' shape and variance 1 / fan-in. Source:
    Lillicrap et al., "Random synaptic feedback weights support error backpropagation for deep learning", 2016.
    """

    Config = FeedbackConfig
    _through_own = False

    def start(self, module: "nn.Module", seed: int) -> None:
        """See TrainingRule."""
        from torch import nn

        super().start(module, seed)
        self._changed: list[nn.Module] = []
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) and "forward" not in vars(layer):
                vars(layer)["forward"] = self._forward(name, layer)
                self._changed.append(layer)

    def backward_weight(self, name: str, weight: "Tensor") -> "Tensor":
        """Return the weights that the error goes through."""
        return self.matrices.get(
            name, weight.shape, 1.0 / math.sqrt(math.prod(weight.shape[1:])), weight.detach()
        )

    def _forward(self, name: str, layer: Any) -> Any:
        def forward(x: "Tensor") -> "Tensor":
            from sparsemod.training.rules.two_weights import apply

            own = self._through_own or not x.requires_grad  # the first layer's input needs no gradient
            return apply(layer, x, layer.weight if own else self.backward_weight(name, layer.weight))

        return forward

    def exact(self, x: "Batch", y: "Tensor", loss: LossFunction) -> None:
        """See FeedbackRule."""
        self._through_own = True
        try:
            super().exact(x, y, loss)
        finally:
            self._through_own = False

    def finish(self) -> None:
        """Restore the layers' forward."""
        super().finish()
        for layer in self._changed:
            vars(layer).pop("forward", None)
        self._changed = []
