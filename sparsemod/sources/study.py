"""A compression study: reference networks, and each of them pruned by several methods to several ratios."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sparsemod.errors import InvalidInput
from sparsemod.records import Candidate, TrialState, Value
from sparsemod.sources.base import SOURCES, CandidateTraining, Round, SourceConfig, SourceContext
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

    stoppable: ClassVar[bool] = False

    name: Literal["study"] = Field(
        "study", description="Networks pruned by several methods to several ratios."
    )
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("magnitude", "filters", "alds"),
        description="Pruning methods by name; torchprune's names are allowed.",
    )
    mode: Literal["retrain", "cascade", "cascade-rewind", "train"] = Field(
        "retrain",
        description="`retrain`: each ratio starts from the reference network. `cascade`: each ratio starts from the "
        "retrained network of the ratio before. `cascade-rewind`: as `cascade`; after pruning, the weights that stay "
        "return to their values after `start_epoch` epochs of the reference's training. `train`: only the reference "
        "networks.",
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
    start_epoch: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Epoch at which retraining begins: the learning rate has the values that follow this epoch "
        "(learning-rate rewinding).",
    )
    retraining: dict[str, Any] = Field(
        {},
        description="Keys of `training` with other values after pruning. A constant small learning rate is fine-tuning.",
    )
    batch_size: int = Field(1, ge=1, le=100, description="Candidates queued together.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.mode == "cascade-rewind" and self.start_epoch > self.epochs:
            raise InvalidInput(
                "source.start_epoch", self.start_epoch, f"at most {self.epochs}, the epochs of the references"
            )
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

    def training(self, candidate: Candidate) -> CandidateTraining:
        """See SourceConfig."""
        if candidate.round == REFERENCE:
            return CandidateTraining(keep_epoch=self.start_epoch if self.rewinding else None)
        if candidate.round == LABEL:
            return CandidateTraining(self.retraining, self.start_epoch, rewinds=self.rewinding)
        return CandidateTraining()

    def training_changes(self) -> Mapping[str, Mapping[str, Any]]:
        """See SourceConfig."""
        return {"source.retraining": self.retraining} if self.retraining else {}

    @property
    def rewinding(self) -> bool:
        """See SourceConfig."""
        return self.mode == "cascade-rewind"

    @property
    def cascades(self) -> bool:
        """Whether each ratio starts from the network of the ratio before."""
        return self.mode in ("cascade", "cascade-rewind")

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
    """Suggests the reference networks, then each pruned network as soon as the one that it starts from is trained.

    A network that cannot run, because the one that it starts from has no weights, is recorded as failed. So each planned
    network has one trial, in the same order whatever happens, if candidates are chosen one after the other.
    """

    def __init__(self, config: StudyConfig, context: SourceContext) -> None:
        self.config, self.context = config, context

    def next(self, observations: Sequence[Observation], n: int) -> list[Suggestion]:
        """See Source."""
        return list(itertools.islice(self._missing(observations), n))

    def done(self, observations: Sequence[Observation]) -> str | None:
        """See Source."""
        if any(o.pending for o in observations) or next(self._missing(observations), None) is not None:
            return None
        mine = [o for o in observations if o.candidate.round in (REFERENCE, LABEL)]
        failed = sum(o.state is TrialState.FAILED for o in mine)
        return f"the study is complete: {len(mine)} network{'' if len(mine) == 1 else 's'}{f', {failed} of which failed' if failed else ''}"

    def _missing(self, observations: Sequence[Observation]) -> Iterator[Suggestion]:
        """Yield the candidates that can run or fail now, in a fixed order."""
        config, space = self.config, self.context.space
        references = [o for o in observations if o.candidate.round == REFERENCE]
        for _ in range(config.nets - len(references)):
            values = config.reference(space)
            candidate = Candidate(parameters=values, origin=LABEL, round=REFERENCE)
            yield screened(self.context, candidate, config.epochs)
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
    ) -> Iterator[Suggestion]:  # fmt: skip
        """Yield what is missing of one method, one reference network and one repetition."""
        config, space = self.config, self.context.space
        start = reference
        for place, sparsity in enumerate(config.sparsities()):
            if start.pending:
                return
            values = config.pruned(space, method, sparsity)
            # In a cascade, each network after the first has one successor.
            number = repetition if not config.cascades or place == 0 else 0
            there = children.get((start.index, space.key(values)), [])
            if len(there) <= number:
                candidate = Candidate(
                    parameters=values, origin=LABEL, round=LABEL, parent=start.index, operators=("prune",)
                )
                yield self.suggestion(candidate, start)
                if config.cascades:
                    return
            elif config.cascades:
                start = there[number]

    def suggestion(self, candidate: Candidate, start: Observation) -> Suggestion:
        """Return the suggestion to train a pruned network, or to record that it cannot start."""
        epochs = self.config.retrain_epochs
        if start.state is TrialState.COMPLETED and start.weights:
            return screened(self.context, candidate, epochs)
        error = (
            f"trial {start.index}, from which this network starts, has no weights: its state is {start.state}"
        )
        return Suggestion(candidate, epochs, feasible=False, error=error)
