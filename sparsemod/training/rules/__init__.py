"""Training rules: how a batch's loss becomes gradients; one file each."""

from sparsemod.training.rules.base import RULES, LossFunction, TrainingRule

__all__ = ["RULES", "LossFunction", "TrainingRule"]
