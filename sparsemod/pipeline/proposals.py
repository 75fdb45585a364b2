"""The candidate source of an experiment with screening, shared by the suggester and local runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import Screen
from sparsemod.records import Failure, FailureKind, Measurement, TrialResult, TrialState, Value
from sparsemod.sources.base import Source, SourceContext
from sparsemod.sources.observation import Costs, Observation, Suggestion
from sparsemod.units import over_budget

Measure = Callable[[Mapping[str, Value]], Mapping[str, Measurement]]
"""Return every cost of a candidate's parameters as a measurement, by metric."""


@dataclass(frozen=True)
class Proposal(Suggestion):
    """A suggestion; when it is over a budget, `measurements` holds its costs with their provenance."""

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


def _unchanged(costs: Costs) -> Costs:
    return costs


class Proposer:
    """A source; the costs of its misses come from `measure`."""

    def __init__(self, source: Source, measure: Measure) -> None:
        self._source, self._measure = source, measure

    @classmethod
    def of(cls, problem: Problem, watch: Callable[[Costs], Costs] = _unchanged) -> "Proposer":
        """Return the spec's source in the family's space, with morphs and exact costs (wrapped by `watch`)."""
        screen = Screen(problem)
        context = SourceContext(
            problem.spec, problem.space, problem.objectives, watch(screen.costs), screen.morphs
        )
        return cls(problem.spec.source.create(context), screen.measure)

    def done(self, observations: Sequence[Observation]) -> str | None:
        """See `Source.done`."""
        return self._source.done(observations)

    def next(self, observations: Sequence[Observation], n: int) -> list[Proposal]:
        """See `Source.next`."""
        return [self._proposal(suggestion) for suggestion in self._source.next(observations, n)]

    def _proposal(self, item: Suggestion) -> Proposal:
        measurements: tuple[Measurement, ...] = ()
        if not item.feasible and item.error is None:
            measurements = tuple(self._measure(item.candidate.parameters).values())
        return Proposal(
            item.candidate,
            item.epochs,
            item.costs,
            item.feasible,
            item.over,
            item.error,
            item.gain,
            measurements,
        )
