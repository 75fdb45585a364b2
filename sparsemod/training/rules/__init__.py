"""Training rules, which compute gradients from a batch's loss; one file each."""

from sparsemod.training.rules.base import RULES, LossFunction, TrainingRule

__all__ = ["RULES", "LossFunction", "TrainingRule"]
