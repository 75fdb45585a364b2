"""Rules that end a training whose result can no longer reach the front at its costs.

Costs are exact before training, so only the error is open: a curve that cannot get below the errors of the networks
that cost no more is not worth its remaining epochs.
"""

from sparsemod.stopping.base import STOPPING, Rule, Training
from sparsemod.stopping.judge import Judge

__all__ = ["STOPPING", "Judge", "Rule", "Training"]
