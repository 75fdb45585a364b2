"""Asynchronous successive halving over non-dominated ranks."""

import math

import numpy as np
from pydantic import Field

from sparsemod.objectives import nondominated
from sparsemod.spec.methods import StoppingConfig
from sparsemod.stopping.base import STOPPING, Floats, Peers, Rule, Training, Verdict


class HalvingConfig(StoppingConfig):
    """Keys of halving."""

    factor: float = Field(
        3.0, gt=1, le=100, description="Of the trainings at a rung, the best 1 / factor continue."
    )
    first: int = Field(
        1,
        ge=1,
        le=100_000,
        description="Epochs before the first rung; each further rung comes after `factor` times as many.",
    )


@STOPPING.register("halving")
class Halving(Rule[HalvingConfig]):
    """Compares trainings after the same epochs by non-dominated rank; the worse ones end (asynchronous halving).

    No training waits for others: it is compared with those that have reached the same epoch before (Li et al., A System
    for Massively Parallel Hyperparameter Tuning, 2020, in the variant that stops trainings). The rank counts the fronts
    that must be removed before a training is on the front (Deb et al., NSGA-II, 2002), by exact costs and the metric so
    far.
    """

    Config = HalvingConfig

    def judge(self, training: Training, peers: Peers) -> Verdict | None:
        """See Rule."""
        rung = self._rung(len(training.errors))
        if rung == 0 or any(name not in training.costs for name in peers.known):
            return None
        others = [
            t
            for t in peers.trainings
            if len(t.errors) >= rung
            and t.index != training.index
            and all(name in t.costs for name in peers.known)
        ]
        rows = np.array(
            [[*(t.costs[name] for name in peers.known), min(t.errors[:rung])] for t in [training, *others]]
        )
        ranks = nondominated_ranks(rows)
        better, continue_ = int((ranks[1:] < ranks[0]).sum()), math.ceil(len(rows) / self.config.factor)
        if better < continue_:
            return None
        return Verdict(f"{better} of {len(others)} trainings have a better rank after epoch {rung}")

    def _rung(self, epoch: int) -> int:
        """Return the last rung up to `epoch`, 0 before the first."""
        rung, following = 0, float(self.config.first)
        while round(following) <= epoch:
            rung, following = round(following), following * self.config.factor
        return rung


def nondominated_ranks(points: Floats) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Return the rank of each row of `points`, shape (n, m): 0 on the front, 1 on the front without rank 0, and so on.

    Everything is minimized. Equal rows have equal ranks.
    """
    unique, place = np.unique(points, axis=0, return_inverse=True)
    ranks = np.zeros(len(unique), np.int64)
    left = np.arange(len(unique))
    rank = 0
    while len(left):
        front = nondominated(unique[left])
        ranks[left[front]] = rank
        left, rank = np.delete(left, front), rank + 1
    return ranks[place.reshape(-1)]
