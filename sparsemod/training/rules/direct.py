"""What the rules with direct feedback share: the error of the output reaches the input of every unit directly."""

import math
from typing import TYPE_CHECKING, TypeVar

from sparsemod.training.rules.base import LossFunction
from sparsemod.training.rules.matrices import FeedbackConfig, FeedbackRule

if TYPE_CHECKING:
    from torch import Tensor, nn

C = TypeVar("C", bound=FeedbackConfig)


class DirectRule(FeedbackRule[C]):
    """Base of the rules whose units learn from a projection of the output's error.

    For unit l after the first, a fixed random matrix B_l has the shape (classes, elements of the unit's input), normal
    with variance 2 / classes (He). The gradient that reaches the unit's input is e B_l, where e is the gradient of the
    loss with respect to the outputs. Within a unit the gradient is exact; the last unit gets e itself.
    """

    def start(self, module: "nn.Module", seed: int) -> None:
        """See TrainingRule. Raises BuildError for a network that is no sequence."""
        from sparsemod.training.rules.units import units_of

        super().start(module, seed)
        self.units = units_of(module)

    def error(self, outputs: "Tensor", y: "Tensor", loss: LossFunction) -> "tuple[Tensor, Tensor]":
        """Return the loss, detached, and its gradient with respect to the outputs (N, classes)."""
        import torch

        leaf = outputs.detach().requires_grad_()
        value = loss(leaf, y)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient

    def signal(self, error: "Tensor", y: "Tensor") -> "Tensor":
        """Return what the matrices project, (N, classes): the error of the output."""
        return error

    def projected(self, place: int, signal: "Tensor", like: "Tensor") -> "Tensor":
        """Return the gradient at the input of the unit `place`, in the shape of this input, `like`."""
        classes, elements = signal.shape[1], math.prod(like.shape[1:])
        name = self.units[place].name
        matrix = self.matrices.get(name, (classes, elements), math.sqrt(2.0 / classes), signal)
        return (signal @ matrix).reshape(like.shape)
