"""What a training rule is."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from sparsemod.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, classes), labels (N,)) -> mean loss of the batch."""


class TrainingRule(Protocol):
    """Computes gradients. One object serves one training."""

    def start(self, module: nn.Module, seed: int) -> None:
        """Take over `module`, in training mode, on its device; anything random is drawn from `seed`."""
        ...

    def gradients(self, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
        """Put the batch's gradients into the parameters' `grad` (None before); returns the loss, detached."""
        ...


RULES: Registry[Callable[[], TrainingRule]] = Registry(
    "training rule", "sparsemod.rules", builtin=("sparsemod.training.rules.bp",)
)
