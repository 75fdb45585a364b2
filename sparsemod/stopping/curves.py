"""Stop by the forecast of the learning curve."""

import math

import numpy as np
from pydantic import Field

from sparsemod.spec.methods import StoppingConfig
from sparsemod.stopping.base import STOPPING, Floats, Peers, Rule, Training, Verdict
from sparsemod.stopping.forecast import Forecast, forecast

PEERS = 200
"""Largest number of ended trainings for a forecast: the latest ones."""


class CurvesConfig(StoppingConfig):
    """Keys of curves."""

    probability: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="A training ends when the probability that it ends on the front is below this.",
    )
    after: int = Field(2, ge=1, le=100_000, description="Finished epochs before the first decision.")
    trials: int = Field(
        5,
        ge=2,
        le=1000,
        description="Completed trials of the same length before the first decision; trials that inherit weights count separately.",
    )


@STOPPING.register("curves")
class Curves(Rule[CurvesConfig]):
    """Ends a training whose forecast leaves it little chance to end on the front at its exact costs."""

    Config = CurvesConfig

    def judge(self, training: Training, peers: Peers) -> Verdict | None:
        """See Rule. While there is no front, no training ends."""
        epoch = len(training.errors)
        if epoch < self.config.after or not peers.front:
            return None
        ceiling = peers.ceiling(training.costs)
        expected = predicted(training, peers, self.config.trials)
        if expected is None or ceiling == math.inf:
            return None
        probability = expected.below(float(peers.logits(ceiling))) if ceiling > 0.0 else 0.0
        if probability >= self.config.probability:
            return None
        return Verdict(f"a probability of {probability:.2g} of ending on the front", probability)


def predicted(training: Training, peers: Peers, least: int = 2) -> Forecast | None:
    """Return where the curve of `training` will end, on the logit of the task's metric.

    None without an epoch, or with fewer than `least` completed trainings of its kind: as long, and with inherited
    weights or not as it.
    """
    epoch, metric = len(training.errors), peers.quality.name
    alike = [
        t
        for t in peers.trainings
        if metric in t.values
        and t.epochs == training.epochs
        and t.inherits == training.inherits
        and len(t.errors) >= epoch
        and t.index != training.index
    ][-PEERS:]
    if epoch == 0 or len(alike) < max(2, least):
        return None
    curves: Floats = peers.logits(np.array([t.errors[:epoch] for t in alike]))
    finals = peers.logits(np.array([t.values[metric] for t in alike]))
    return forecast(peers.logits(np.array(training.errors)), curves, finals, training.epochs)
