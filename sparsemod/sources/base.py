"""The protocol of candidate sources, the base of their configs, and their registry.

A source is one file: a config with a name, registered in `SOURCES`, whose `create` returns the object that
chooses candidates. The spec's `source` is a union of the registered configs by name.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sparsemod.errors import InvalidInput
from sparsemod.objectives import Objectives
from sparsemod.records import Candidate, Value
from sparsemod.registry import Registry
from sparsemod.sources.config_keys import ConfigKey
from sparsemod.sources.observation import Costs, Morphs, Observation, Suggestion
from sparsemod.space.parameters import Parameter
from sparsemod.space.space import Space


@dataclass(frozen=True)
class Round:
    """A part of an experiment: `name` labels its trials, `title` is its display name.

    `trials` trials are planned, each with `epochs` epochs. With `misses_count`, a candidate that is over a
    budget or cannot be built uses up one of them.
    """

    name: str
    title: str
    trials: int
    epochs: int
    misses_count: bool = False


@dataclass(frozen=True)
class CandidateTraining:
    """How the training of one candidate differs from the spec's.

    `changes`: keys of `training` with other values. `start_epoch`: epochs of the learning rate's schedule that are over
    before the first epoch. `keep_epoch`: store the weights after this epoch (0: before the first one) as the artifact
    `rewind`. `rewinds`: after pruning, the weights that stay return to the artifact `rewind` of the candidate's parent.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    start_epoch: int = 0
    keep_epoch: int | None = None
    rewinds: bool = False


class Source(Protocol):
    """Chooses candidates. All its state can be rebuilt from the observations."""

    def next(self, observations: Sequence[Observation], n: int) -> Sequence[Suggestion]:
        """Return up to `n` candidates to train, and the misses found on the way.

        A miss is over a budget or cannot be built: its `feasible` is false, and the caller records it
        without training. The call never waits for pending trials. An empty list means that the source has
        no suggestion now.

        Raises SpaceEmpty when no candidate can be built within the budgets.
        """
        ...

    def done(self, observations: Sequence[Observation]) -> str | None:
        """Return why the experiment is over, or None while suggestions or pending trials remain."""
        ...


@dataclass(frozen=True)
class SourceContext:
    """What a source may use: the whole spec (an ExperimentSpec), space, objectives, exact costs and morphs.

    `costs` raises BuildError for a network that cannot be built.
    """

    spec: Any
    space: Space
    objectives: Objectives
    costs: Costs
    morphs: Morphs | None = None


class SourceConfig(BaseModel):
    """Base of the configs. A subclass declares `name: Literal["..."] = "..."`, further fields, `create` and `plan`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    top_level: ClassVar[Mapping[str, str]] = {}
    """Top-level keys of earlier specs, and their place in this config ("" is the config itself)."""

    config_keys: ClassVar[Mapping[str, ConfigKey]] = {}
    """Keys of a `config.cfg` that belong to this source."""

    name: str = Field(description="The kind of source.")
    version: Literal[1] = Field(1, description="Version of this source's settings.")

    @abstractmethod
    def create(self, context: SourceContext) -> Source:
        """Return the source.

        Import heavy libraries here, not in the module: the server reads configs without them.
        """

    @abstractmethod
    def plan(self) -> tuple[Round, ...]:
        """Return the rounds in order; every suggested trial names one of them."""

    def parameters(self) -> Mapping[str, Parameter]:
        """Return the pipeline parameters that the source varies even if the spec's `space` omits them."""
        return {}

    def field(self, parameter: str) -> str:
        """Return the field of the spec that holds the values of one of `parameters`, for errors."""
        return f"source.values.{parameter}"

    prunes_to_sparsities: ClassVar[bool] = False
    """Whether every method in `parameters` but `none` is pruned to the sparsities there."""

    stoppable: ClassVar[bool] = True
    """Whether a stopping rule may end its trainings."""

    def may_stop(self, candidate: Candidate) -> bool:
        """Return whether a stopping rule may end the training of this candidate."""
        return self.stoppable

    def training(self, candidate: Candidate) -> CandidateTraining:
        """Return how the training of a candidate differs from the spec's."""
        return CandidateTraining()

    def training_changes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return field of the source -> keys of `training` with other values, which the spec checks."""
        return {}

    @property
    def rewinding(self) -> bool:
        """Whether weights of pruned networks return to earlier values, which needs methods that keep the layers."""
        return False

    def check(self, space: Space) -> None:
        """Check the config against the experiment's space. Raises InvalidInput with a field that begins with `source.`."""

    def extended(self, more: Mapping[str, int]) -> Self:
        """Return the config with `more` trials by round.

        The caller parses the changed spec, which checks the limits. Raises InvalidInput; sources of fixed
        size always do.
        """
        for name, count in more.items():
            if count:
                raise InvalidInput(f"rounds.{name}", count, f"0; source {self.name} has a fixed size")
        return self

    @property
    def batch(self) -> int:
        """Number of candidates chosen together."""
        return 1

    @property
    def waits(self) -> bool:
        """Whether the service requests candidates only when no trial is running or queued."""
        return False

    @property
    def manual_epochs(self) -> int:
        """Epochs of a manual candidate without a number of epochs."""
        return max((part.epochs for part in self.plan()), default=1)

    @property
    def patience(self) -> int:
        """Number of consecutive misses after which a dry run calls the space empty."""
        return 0

    @property
    def inherits(self) -> bool:
        """Whether candidates may inherit weights from earlier trials."""
        return False

    def samples(self, space: Space, rng: np.random.Generator) -> Iterator[dict[str, Value]]:
        """Yield candidates for a dry run: the space's defaults, then endless random ones."""
        yield space.complete({})
        while True:
            yield space.sample(rng)


SOURCES: Registry[type[SourceConfig]] = Registry(
    "candidate source", "sparsemod.sources", ("sparsemod.search @SOURCES", "sparsemod.sources @SOURCES")
)
"""Configs of candidate sources by name."""

MANUAL = Round("manual", "by hand", 0, 1, misses_count=True)
"""The round of manual candidates, in every source."""
