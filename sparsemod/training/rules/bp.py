"""Backpropagation (Rumelhart, Hinton, Williams, 1986), by autograd."""

from typing import TYPE_CHECKING

from sparsemod.spec.methods import RuleConfig
from sparsemod.training.rules.base import RULES, LossFunction, TrainingRule

if TYPE_CHECKING:
    from torch import Tensor


@RULES.register("bp")
class Backpropagation(TrainingRule[RuleConfig]):
    """Exact gradients by backpropagation."""

    Config = RuleConfig

    def gradients(self, x: "Tensor", y: "Tensor", loss: LossFunction) -> "Tensor":
        """See TrainingRule."""
        value = loss(self.module(x), y)
        value.backward()
        return value.detach()
