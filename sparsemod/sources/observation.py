"""Input (observations) and output (suggestions) of a candidate source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sparsemod.records import Candidate, FailureKind, TrialState, Value

Costs = Callable[[Mapping[str, Value]], Mapping[str, float]]
"""Return exact costs of a candidate without training it, metric -> value.

Raises BuildError when the network cannot be built.
"""


class Morph(Protocol):
    """A changed copy of a parent's parameters and the names of the operators that changed it."""

    @property
    def parameters(self) -> Mapping[str, Value]: ...

    @property
    def operators(self) -> Sequence[str]: ...


Morphs = Callable[[Mapping[str, Value], np.random.Generator], Sequence[Morph]]
"""Return children of a parent's parameters, all valid in the space."""


@dataclass(frozen=True)
class Observation:
    """A trial as a candidate source sees it.

    `values`: metric -> value. A completed trial has every measured metric, an infeasible one its costs,
    others None or the known metrics. `epochs`: epochs of training in its weights, inherited ones included;
    0 when unknown, which means those of its round. `failure`: why a failed trial failed. `weights`: whether
    its weights are stored, so that a morph can inherit them.
    """

    index: int
    candidate: Candidate
    state: TrialState
    values: Mapping[str, float] | None = None
    epochs: float = 0.0
    failure: FailureKind | None = None
    weights: bool = True

    @property
    def pending(self) -> bool:
        """Whether the result is pending."""
        return not self.state.finished

    @property
    def miss(self) -> bool:
        """Whether the candidate was over a budget or its network could not be built.

        A trial that was trained and diverged has values and is no miss.
        """
        if self.state is TrialState.FAILED:
            return self.failure is FailureKind.INVALID and not self.values
        return self.state is TrialState.INFEASIBLE


@dataclass(frozen=True)
class Suggestion:
    """A candidate to train for `epochs` epochs or, when `feasible` is false, to record without training.

    `costs` are exact. `over` names the broken budgets and the excess of each. `error` is the message of a
    network that cannot be built: record it as failed (invalid), without values. Neither kind counts as a
    trial of its round. `gain` is the expected hypervolume improvement, None for a Sobol point.
    """

    candidate: Candidate
    epochs: int
    costs: Mapping[str, float] = field(default_factory=dict)
    feasible: bool = True
    over: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    gain: float | None = None
