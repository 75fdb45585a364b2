"""The protocol of candidate sources, the base of their configs, and their registry.

A source is one file: a config with a name, registered in `SOURCES`, whose `create` makes the object that chooses candidates. The spec's
`source` is a union of the registered configs by name.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sparsemod.errors import InvalidInput
from sparsemod.objectives import Objectives
from sparsemod.records import Value
from sparsemod.registry import Registry
from sparsemod.sources.config_keys import ConfigKey
from sparsemod.sources.observation import Costs, Morphs, Observation, Suggestion
from sparsemod.space.parameters import Parameter
from sparsemod.space.space import Space


@dataclass(frozen=True)
class Round:
    """A part of an experiment that its trials name: `name` is the label of its trials, `title` what people read.

    `trials` are planned, each with `epochs` epochs. With `misses_count`, a candidate over a budget or impossible to build uses up one of them.
    """

    name: str
    title: str
    trials: int
    epochs: int
    misses_count: bool = False


class Source(Protocol):
    """Chooses candidates. It keeps nothing that a new one could not rebuild from the observations."""

    def next(self, observations: Sequence[Observation], n: int) -> Sequence[Suggestion]:
        """Up to `n` candidates to train, and on the way those over a budget or impossible to build (`feasible` false: to be recorded, not
        trained). Never waits for pending trials. An empty list means that there is nothing to suggest now.

        Raises SpaceEmpty when no candidate can be built within the budgets.
        """
        ...

    def done(self, observations: Sequence[Observation]) -> str | None:
        """Why the experiment is over, or None while there is something to suggest or to wait for."""
        ...


@dataclass(frozen=True)
class SourceContext:
    """What a source may use: the whole spec (an ExperimentSpec), the space, the objectives, and exact costs and morphs of candidates.

    `costs` raises BuildError for a network that cannot be built.
    """

    spec: Any
    space: Space
    objectives: Objectives
    costs: Costs
    morphs: Morphs | None = None


class SourceConfig(BaseModel):
    """Base of the configs. A subclass declares `name: Literal["..."] = "..."`, its own fields, `create` and `plan`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    top_level: ClassVar[Mapping[str, str]] = {}
    """Keys that specs of earlier versions held at the top level, and where in this config they went ("" is the config itself)."""

    config_keys: ClassVar[Mapping[str, ConfigKey]] = {}
    """Keys of a `config.cfg` that belong to this source."""

    name: str = Field(description="The kind of source.")
    version: Literal[1] = Field(1, description="Version of this source's settings.")

    @abstractmethod
    def create(self, context: SourceContext) -> Source:
        """The source itself. Heavy libraries are imported here, not with the module: the server reads configs without them."""

    @abstractmethod
    def plan(self) -> tuple[Round, ...]:
        """The rounds in their order; every trial that the source suggests names one of them."""

    def parameters(self) -> Mapping[str, Parameter]:
        """Parameters of the pipeline that the source varies and the spec's `space` need not name."""
        return {}

    def check(self, space: Space) -> None:
        """Check the config against the experiment's space. Raises InvalidInput with a field that begins with `source.`."""

    def extended(self, more: Mapping[str, int]) -> Self:
        """The config with so many more trials by round; the caller parses the changed spec, which checks the limits. Raises InvalidInput;
        sources of fixed size refuse."""
        for name, count in more.items():
            if count:
                raise InvalidInput(f"rounds.{name}", count, f"0; source {self.name} has a fixed size")
        return self

    @property
    def batch(self) -> int:
        """How many candidates are chosen together."""
        return 1

    @property
    def waits(self) -> bool:
        """Whether the service asks for candidates only when no trial is under way."""
        return False

    @property
    def manual_epochs(self) -> int:
        """Epochs of a candidate that a user attaches without naming any."""
        return max((part.epochs for part in self.plan()), default=1)

    @property
    def patience(self) -> int:
        """Misses in a row after which a dry run calls the space empty."""
        return 0

    @property
    def inherits(self) -> bool:
        """Whether candidates may inherit weights from earlier trials."""
        return False

    def samples(self, space: Space, rng: np.random.Generator) -> Iterator[dict[str, Value]]:
        """Candidates such as it will suggest, for a dry run: the space's defaults, then random ones without end."""
        yield space.complete({})
        while True:
            yield space.sample(rng)


SOURCES: Registry[type[SourceConfig]] = Registry(
    "candidate source", "sparsemod.sources", ("sparsemod.search.source", "sparsemod.sources.grid")
)
"""Configs of candidate sources by name."""

MANUAL = Round("manual", "by hand", 0, 1, misses_count=True)
"""The round of candidates that a user attaches, whatever the source."""
