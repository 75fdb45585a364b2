"""A grid: every combination of listed values, repeated with different seeds."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sparsemod.errors import InvalidCandidate, InvalidInput
from sparsemod.records import Candidate, Value
from sparsemod.sources.base import SOURCES, Round, SourceConfig, SourceContext
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.sources.screened import screened
from sparsemod.space.parameters import Categorical, Parameter
from sparsemod.space.space import Space

MOST_TRIALS = 100_000
LABEL = "grid"


@SOURCES.register("grid")
class GridConfig(SourceConfig):
    """Every combination of listed values, with repetitions: trials of equal parameters and different seeds."""

    name: Literal["grid"] = Field("grid", description="The product of listed values.")
    values: dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]] = Field(
        {},
        description="Parameter of the family or the pipeline -> its values. Parameters that are not listed keep their default.",
    )
    repetitions: int = Field(
        1, ge=1, le=1000, description="Trials of each combination, each with a different seed."
    )
    epochs: int = Field(5, ge=1, le=100_000, description="Epochs of training of each trial.")
    batch_size: int = Field(1, ge=1, le=100, description="Candidates queued together.")

    @model_validator(mode="after")
    def _distinct_and_bounded(self) -> Self:
        for name, values in self.values.items():
            if len({(type(value), value) for value in values}) < len(values):
                raise InvalidInput(f"source.values.{name}", list(values), "each value once")
        if self.points * self.repetitions > MOST_TRIALS:
            raise ValueError(
                f"{self.points} combinations x {self.repetitions} repetitions: at most {MOST_TRIALS:,} trials"
            )
        return self

    @property
    def points(self) -> int:
        """The number of combinations."""
        return math.prod(len(values) for values in self.values.values())

    def create(self, context: SourceContext) -> "Grid":
        """Return the grid in the experiment's space."""
        return Grid(self, context)

    def plan(self) -> tuple[Round, ...]:
        """Return one round. A combination over a budget uses up its trials, because the grid has no replacement."""
        return (Round(LABEL, "grid", self.points * self.repetitions, self.epochs, misses_count=True),)

    def parameters(self) -> Mapping[str, Parameter]:
        """Return parameters for the listed pipeline values that the space does not contain."""
        return {name: Categorical(name=name, values=values) for name, values in self.values.items()}

    def check(self, space: Space) -> None:
        """Check that the space allows every listed value. Raises InvalidInput."""
        for name, values in self.values.items():
            field = f"source.values.{name}"
            if name not in space:
                raise InvalidInput(field, list(values), f"a parameter of the space: {', '.join(space.names)}")
            for value in values:
                try:
                    space.parameter(name).check(value)
                except InvalidCandidate as error:
                    raise InvalidInput(field, value, error.allowed) from None
        if not self.candidates(space):
            raise InvalidInput(
                "source.values", self.values, "at least one combination that meets the constraints"
            )

    def extended(self, more: Mapping[str, int]) -> Self:
        """Return the config with more repetitions.

        Raises InvalidInput unless the trials are whole repetitions of the grid.
        """
        repetitions = self.repetitions
        for name, count in more.items():
            if name != LABEL or count < 0 or count % self.points:
                raise InvalidInput(
                    f"rounds.{name}", count, f"{LABEL}: a multiple of {self.points}, the number of combinations (whole repetitions)"
                )  # fmt: skip
            repetitions += count // self.points
        return self.model_copy(update={"repetitions": repetitions})

    @property
    def batch(self) -> int:
        """Number of candidates queued together."""
        return self.batch_size

    def samples(self, space: Space, rng: np.random.Generator) -> Iterator[dict[str, Value]]:
        """Yield the grid's candidates in a random order that repeats."""
        candidates = self.candidates(space)
        while True:
            for place in rng.permutation(len(candidates)):
                yield candidates[place]

    def candidates(self, space: Space) -> list[dict[str, Value]]:
        """Return the distinct candidates of the combinations, in order.

        Combinations that differ only in an inactive parameter are one candidate.
        """
        distinct: dict[str, dict[str, Value]] = {}
        for combination in itertools.product(*self.values.values()):
            values = space.complete(dict(zip(self.values, combination, strict=True)))
            if space.meets_constraints(values):
                distinct.setdefault(space.key(values), values)
        return list(distinct.values())


class Grid:
    """Suggests each candidate once per repetition, finishing a repetition of all candidates before the next."""

    def __init__(self, config: GridConfig, context: SourceContext) -> None:
        self.config, self.context = config, context
        self._candidates = {context.space.key(v): v for v in config.candidates(context.space)}

    def next(self, observations: Sequence[Observation], n: int) -> list[Suggestion]:
        """See Source."""
        suggestions: list[Suggestion] = []
        live = 0
        for values in self._missing(observations):
            if live == n:
                break
            candidate = Candidate(parameters=values, origin=LABEL, round=LABEL)
            suggestions.append(screened(self.context, candidate, self.config.epochs))
            live += suggestions[-1].feasible
        return suggestions

    def done(self, observations: Sequence[Observation]) -> str | None:
        """See Source."""
        if next(self._missing(observations), None) is not None or any(o.pending for o in observations):
            return None
        times, count = self.config.repetitions, len(self._candidates)
        equal = self.config.points - count
        rest = (
            f"; {equal} of {self.config.points} combinations are equal to another one or break a constraint"
            if equal
            else ""
        )
        return f"the grid is complete: {count} candidates, {times} repetition{'s' if times > 1 else ''}{rest}"

    def _missing(self, observations: Sequence[Observation]) -> Iterator[dict[str, Value]]:
        key = self.context.space.key
        there = Counter(key(o.candidate.parameters) for o in observations if o.candidate.round == LABEL)
        for repetition in range(self.config.repetitions):
            for name, values in self._candidates.items():
                if there[name] <= repetition:
                    yield values
