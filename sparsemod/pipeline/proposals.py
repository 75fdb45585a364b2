"""The candidate source of an experiment with screening, shared by the suggester and local runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import Screen
from sparsemod.records import Measurement, Value
from sparsemod.sources.base import Source, SourceContext
from sparsemod.sources.observation import Costs, Observation, Suggestion

Measure = Callable[[Mapping[str, Value]], Mapping[str, Measurement]]
"""Return every cost of a candidate's parameters as a measurement, by metric."""


def _unchanged(costs: Costs) -> Costs:
    return costs


class Proposer:
    """A source; the costs of its misses come from `measure`."""

    def __init__(self, source: Source, measure: Measure) -> None:
        self.source, self._measure = source, measure

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
        return self.source.done(observations)

    def next(self, observations: Sequence[Observation], n: int) -> list[Suggestion]:
        """See `Source.next`. Candidates over a budget get their measurements."""
        return [self._measured(suggestion) for suggestion in self.source.next(observations, n)]

    def _measured(self, item: Suggestion) -> Suggestion:
        if item.feasible or item.error is not None:
            return item
        return replace(item, measurements=tuple(self._measure(item.candidate.parameters).values()))
