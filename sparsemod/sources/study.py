"""A compression study: reference networks, and each of them pruned by several methods to several ratios."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sparsemod.errors import InvalidInput
from sparsemod.records import Candidate, TrialState, Value
from sparsemod.sources.base import SOURCES, Round, SourceConfig, SourceContext
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.sources.screened import screened
from sparsemod.sources.spacing import Spacing
from sparsemod.space.parameters import Categorical, Parameter
from sparsemod.space.space import Space

MOST_TRIALS = 100_000
LABEL, REFERENCE = "study", "reference"
NONE = "none"
DIGITS = 6
"""Decimals of the sparsity in a trial's parameters."""


@SOURCES.register("study")
class StudyConfig(SourceConfig):
    """Train reference networks; prune and retrain each with every method, ratio and repetition.

    All methods start from the same weights and get the same data, epochs and quantization. When a method
    prunes is up to `pruning.schedule`: with `{name: one-shot, begin: 0}` it prunes first and retrains then.
    """

    name: Literal["study"] = Field(
        "study", description="Networks pruned by several methods to several ratios."
    )
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("magnitude", "filters", "alds"),
        description="Pruning methods by name; torchprune's names are allowed.",
    )
    mode: Literal["retrain", "cascade", "train"] = Field(
        "retrain",
        description="`retrain`: each ratio starts from the reference network. `cascade`: each ratio starts from the "
        "retrained network of the ratio before. `train`: only the reference networks.",
    )
    spacing: Annotated[tuple[Spacing, ...], Field(min_length=1)] = Field(
        (Spacing(),),
        description="The shares of the weights that stay: the lists of several spacings, one after the other.",
    )
    retrain_iterations: int = Field(
        -1,
        ge=-1,
        description="Number of ratios that are retrained and reported, spread evenly over all; -1: every ratio.",
    )
    nets: int = Field(
        1, ge=1, le=1000, description="Reference networks, each trained with a seed of its own."
    )
    repetitions: int = Field(
        1,
        ge=1,
        le=1000,
        description="How often each method prunes the same reference network, with different seeds.",
    )
    epochs: int = Field(5, ge=1, le=100_000, description="Epochs of training of the reference networks.")
    retrain_epochs: int = Field(5, ge=1, le=100_000, description="Epochs after each pruning.")
    batch_size: int = Field(1, ge=1, le=100, description="Candidates queued together.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise InvalidInput("source.methods", list(self.methods), "each method once")
        if NONE in self.methods:
            raise InvalidInput(
                "source.methods", NONE, "methods that prune; the reference networks are not pruned"
            )
        every = sum(len(spacing.ratios()) for spacing in self.spacing)
        if self.retrain_iterations == 0 or self.retrain_iterations > every:
            raise InvalidInput(
                "source.retrain_iterations",
                self.retrain_iterations,
                f"-1, or 1 to {every}, the number of ratios",
            )
        ratios = self.ratios()
        if any(later >= earlier for earlier, later in itertools.pairwise(ratios)):
            raise InvalidInput("source.spacing", list(ratios), "shares that fall from one to the next")
        if len(ratios) * len(self.methods) * self.repetitions * self.nets > MOST_TRIALS:
            raise ValueError(f"at most {MOST_TRIALS:,} trials")
        return self

    def ratios(self) -> tuple[float, ...]:
        """Return the shares of the weights that stay, of the trials of each method."""
        every = [ratio for spacing in self.spacing for ratio in spacing.ratios()]
        if self.retrain_iterations < 1:
            return tuple(every)
        return tuple(float(part[-1]) for part in np.array_split(np.array(every), self.retrain_iterations))

    def sparsities(self) -> tuple[float, ...]:
        """Return the shares of the weights to remove, as in the trials' parameters."""
        return tuple(round(1 - ratio, DIGITS) for ratio in self.ratios())

    def create(self, context: SourceContext) -> "Study":
        """Return the study in the experiment's space."""
        return Study(self, context)

    def plan(self) -> tuple[Round, ...]:
        """Return the reference networks and the pruned ones. A network over a budget is not replaced."""
        count = self.nets * len(self.methods) * self.repetitions * len(self.ratios())
        return (
            Round(REFERENCE, "reference networks", self.nets, self.epochs, misses_count=True),
            Round(
                LABEL,
                "pruned networks",
                0 if self.mode == "train" else count,
                self.retrain_epochs,
                misses_count=True,
            ),
        )

    def parameters(self) -> Mapping[str, Parameter]:
        """Return the method and the sparsity of a trial."""
        sparsities = tuple(dict.fromkeys((0.0, *self.sparsities())))
        return {
            "pruning_method": Categorical(
                name="pruning_method", values=tuple(dict.fromkeys((NONE, *self.methods)))
            ),
            "sparsity": Categorical(name="sparsity", values=sparsities, ordered=True),
        }

    prunes_to_sparsities: ClassVar[bool] = True

    def field(self, parameter: str) -> str:
        """See SourceConfig."""
        return "source.methods" if parameter == "pruning_method" else "source.spacing"

    @property
    def batch(self) -> int:
        """Number of candidates queued together."""
        return self.batch_size

    @property
    def inherits(self) -> bool:
        """Whether candidates inherit weights: pruned networks start from trained ones."""
        return True

    def samples(self, space: Space, rng: np.random.Generator) -> Iterator[dict[str, Value]]:
        """Yield the reference, then each method in turn at the first ratio."""
        yield self.reference(space)
        while True:
            for method in self.methods:
                yield self.pruned(space, method, self.sparsities()[0])

    def reference(self, space: Space) -> dict[str, Value]:
        """Return the parameters of the reference networks."""
        return space.complete({"pruning_method": NONE, "sparsity": 0.0})

    def pruned(self, space: Space, method: str, sparsity: float) -> dict[str, Value]:
        """Return the parameters of a pruned network."""
        return space.complete({"pruning_method": method, "sparsity": sparsity})


class Study:
    """Suggests the reference networks, then each pruned network as soon as the one that it starts from is trained."""

    def __init__(self, config: StudyConfig, context: SourceContext) -> None:
        self.config, self.context = config, context

    def next(self, observations: Sequence[Observation], n: int) -> list[Suggestion]:
        """See Source."""
        suggestions: list[Suggestion] = []
        live = 0
        for candidate, epochs in self._missing(observations):
            if live == n:
                break
            suggestions.append(screened(self.context, candidate, epochs))
            live += suggestions[-1].feasible
        return suggestions

    def done(self, observations: Sequence[Observation]) -> str | None:
        """See Source."""
        if any(o.pending for o in observations) or next(self._missing(observations), None) is not None:
            return None
        planned = sum(part.trials for part in self.config.plan())
        there = sum(o.candidate.round in (REFERENCE, LABEL) for o in observations)
        rest = (
            f"; {planned - there} cannot run, since the networks that they start from failed"
            if planned > there
            else ""
        )
        return f"the study is complete: {there} networks{rest}"

    def _missing(self, observations: Sequence[Observation]) -> Iterator[tuple[Candidate, int]]:
        """Yield the candidates that can run now, in a fixed order."""
        config, space = self.config, self.context.space
        references = [o for o in observations if o.candidate.round == REFERENCE]
        for _ in range(config.nets - len(references)):
            values = config.reference(space)
            yield Candidate(parameters=values, origin=LABEL, round=REFERENCE), config.epochs
        if config.mode == "train":
            return
        children: dict[tuple[int, str], list[Observation]] = {}
        for o in observations:
            if o.candidate.round == LABEL and o.candidate.parent is not None:
                children.setdefault((o.candidate.parent, space.key(o.candidate.parameters)), []).append(o)
        for repetition in range(config.repetitions):
            for reference in references:
                for method in config.methods:
                    yield from self._steps(reference, method, repetition, children)

    def _steps(
        self, reference: Observation, method: str, repetition: int, children: Mapping[tuple[int, str], list[Observation]]
    ) -> Iterator[tuple[Candidate, int]]:  # fmt: skip
        """Yield what is missing of one method, one reference network and one repetition."""
        config, space = self.config, self.context.space
        start = reference
        for place, sparsity in enumerate(config.sparsities()):
            if not _usable(start):
                return
            values = config.pruned(space, method, sparsity)
            # In a cascade, each network after the first has one successor.
            number = repetition if config.mode == "retrain" or place == 0 else 0
            there = children.get((start.index, space.key(values)), [])
            if len(there) <= number:
                candidate = Candidate(
                    parameters=values, origin=LABEL, round=LABEL, parent=start.index, operators=("prune",)
                )
                yield candidate, config.retrain_epochs
                if config.mode == "cascade":
                    return
            elif config.mode == "cascade":
                start = there[number]


def _usable(observation: Observation) -> bool:
    """Return whether a network can be pruned further."""
    return observation.state is TrialState.COMPLETED and observation.weights
