"""A kind of experiment in one file: random candidates within the budgets, trained in two waves.

sparsemod run own_source.yaml --import own_source       or       sparsemod serve --import own_source
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sparsemod.records import Candidate
from sparsemod.sources.base import SOURCES, Round, SourceConfig, SourceContext
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.sources.screened import screened


@SOURCES.register("random")
class RandomConfig(SourceConfig):
    """Random candidates within the budgets: a short wave, then a long one."""

    name: Literal["random"] = "random"
    trials: int = Field(10, ge=1, description="Trials of each wave.")
    epochs: int = Field(5, ge=1, description="Epochs of the first wave; the second trains twice as long.")

    def plan(self) -> tuple[Round, ...]:
        return (
            Round("short", "first wave", self.trials, self.epochs),
            Round("long", "second wave", self.trials, 2 * self.epochs),
        )

    def create(self, context: SourceContext) -> "Random":
        return Random(self, context)


class Random:
    def __init__(self, config: RandomConfig, context: SourceContext) -> None:
        self.config, self.context = config, context

    def next(self, observations: Sequence[Observation], n: int) -> list[Suggestion]:
        suggestions: list[Suggestion] = []
        trained = self.trained(observations)
        # The seed of a draw is its index, so another process continues in the same way.
        for index in range(len(observations), len(observations) + min(n, 2 * self.config.trials - trained)):
            part = self.config.plan()[trained >= self.config.trials]
            values = self.context.space.sample(np.random.default_rng([self.context.spec.seed, index]))
            candidate = Candidate(parameters=values, origin="random", round=part.name)
            suggestions.append(screened(self.context, candidate, part.epochs))
            trained += suggestions[-1].feasible
        return suggestions

    def done(self, observations: Sequence[Observation]) -> str | None:
        more = self.trained(observations) < 2 * self.config.trials and len(observations) < 1000
        return None if more or any(o.pending for o in observations) else "both waves are complete"

    def trained(self, observations: Sequence[Observation]) -> int:
        return sum(not o.miss for o in observations if o.candidate.round in ("short", "long"))
