"""Backpropagation (Rumelhart, Hinton, Williams, 1986), by autograd."""

from sparsemod.spec.methods import RuleConfig
from sparsemod.training.rules.base import RULES, TrainingRule


@RULES.register("bp")
class Backpropagation(TrainingRule[RuleConfig]):
    """Exact gradients by backpropagation."""

    Config = RuleConfig
