"""Input (observations) and output (suggestions) of a candidate source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydantic import TypeAdapter

from sparsemod.records import (
    Candidate,
    Failure,
    FailureKind,
    Measurement,
    StopDecision,
    TrialRecord,
    TrialResult,
    TrialState,
    Value,
)
from sparsemod.units import over_budget

Costs = Callable[[Mapping[str, Value]], Mapping[str, float]]
"""Return exact costs of a candidate without training it, metric -> value.

Raises BuildError when the network cannot be built.
"""


class MorphedParameters(Protocol):
    """A changed copy of a parent's parameters and the names of the operators that changed it."""

    @property
    def parameters(self) -> Mapping[str, Value]: ...

    @property
    def operators(self) -> Sequence[str]: ...


Morphs = Callable[[Mapping[str, Value], np.random.Generator], Sequence[MorphedParameters]]
"""Return children of a parent's parameters, all valid in the space."""


@dataclass(frozen=True)
class Observation:
    """A trial as a candidate source sees it.

    `values`: metric -> value. A completed trial has every measured metric, an infeasible one its costs,
    others None or the known metrics. `epochs`: epochs of training in its weights, inherited ones included;
    0 when it was not trained yet. `planned`: epochs of its own training; 0 when unknown, which means those
    of its round. `failure`: why a failed trial failed. `weights`: whether its weights are stored, so that a
    morph can inherit them. `standard_errors`: metric -> standard error of its value, where the measurement states one.
    `stopping`: why the stopping rule ended it, with a forecast of its metric.
    """

    index: int
    candidate: Candidate
    state: TrialState
    values: Mapping[str, float] | None = None
    epochs: float = 0.0
    failure: FailureKind | None = None
    weights: bool = True
    planned: float = 0.0
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    stopping: StopDecision | None = None

    @classmethod
    def of(cls, trial: TrialRecord) -> "Observation":
        """Return a stored trial as an observation."""
        return cls(
            index=trial.index,
            candidate=trial.candidate,
            state=trial.state,
            values=trial.values() or None,
            epochs=trial.trained_epochs,
            failure=None if trial.failure is None else trial.failure.kind,
            weights=trial.artifact("weights") is not None,
            planned=float(trial.epochs),
            standard_errors=trial.standard_errors(),
            stopping=trial.stopping,
        )

    @property
    def pending(self) -> bool:
        """Whether the result is pending."""
        return not self.state.finished

    @property
    def forecast(self) -> tuple[float, float] | None:
        """The forecast of the task's metric, and the deviation of its logit, of a trial that the stopping rule ended."""
        decision = self.stopping if self.state is TrialState.STOPPED else None
        if decision is None or decision.expected is None or decision.deviation is None:
            return None
        return decision.expected, decision.deviation

    @property
    def miss(self) -> bool:
        """Whether the candidate was over a budget or its network could not be built.

        A trial that was trained and diverged has values and is no miss.
        """
        if self.state is TrialState.FAILED:
            return self.failure is FailureKind.INVALID and not self.values
        return self.state is TrialState.INFEASIBLE


_OBSERVATIONS = TypeAdapter(list[Observation])


def observations_to_plain(observations: Sequence[Observation]) -> list[dict[str, Any]]:
    """Return observations as plain data for JSON, for another process."""
    plain: list[dict[str, Any]] = _OBSERVATIONS.dump_python(list(observations), mode="json")
    return plain


def observations_from_plain(plain: Sequence[Mapping[str, Any]]) -> list[Observation]:
    """Return the observations of `observations_to_plain`. Raises ValidationError."""
    return _OBSERVATIONS.validate_python(plain)


@dataclass(frozen=True)
class Suggestion:
    """A candidate to train for `epochs` epochs or, when `feasible` is false, to record without training.

    `costs` are exact. `over` names the broken budgets and the excess of each. `error` is the message of a
    network that cannot be built: record it as failed (invalid), without values. Neither kind counts as a
    trial of its round. `gain` is the expected hypervolume improvement, None for a Sobol point.
    `measurements`: of a candidate over a budget, its costs with their provenance.
    """

    candidate: Candidate
    epochs: int
    costs: Mapping[str, float] = field(default_factory=dict)
    feasible: bool = True
    over: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    gain: float | None = None
    measurements: tuple[Measurement, ...] = ()

    def miss(self) -> TrialResult | None:
        """Return the result to record for a candidate that must not be trained, else None."""
        if self.error is not None:
            failure = Failure(kind=FailureKind.INVALID, message=self.error)
            return TrialResult(state=TrialState.FAILED, failure=failure)
        if self.feasible:
            return None
        notes = tuple(over_budget(name, excess) for name, excess in self.over.items())
        return TrialResult(state=TrialState.INFEASIBLE, measurements=self.measurements, notes=notes)
