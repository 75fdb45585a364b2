"""The settings of the search, its rounds and its keys of a `config.cfg`.

No code outside this folder knows the rounds' names.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparsemod.errors import InvalidInput
from sparsemod.records import Candidate, Value
from sparsemod.sources.base import Round, SourceConfig
from sparsemod.sources.config_keys import ConfigKey, flag, whole
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RoundSpec(_Part):
    """One round of the search."""

    trials: int = Field(
        ge=0,
        le=100_000,
        description="Trials of this round. Candidates over a budget and networks that cannot be built do not count.",
    )
    epochs: int = Field(ge=1, le=100_000, description="Epochs of training in this round.")


class RepeatsSpec(_Part):
    """After the rounds: candidates near the front are trained again with other seeds until the front is settled."""

    trials: int = Field(0, ge=0, le=100_000, description="Largest number of repetitions; 0: none.")
    confidence: float = Field(
        0.9,
        gt=0.5,
        lt=1,
        description="A candidate is settled when its probability of being on the front is at least this, or at most 1 minus this.",
    )
    seeds: int = Field(
        3,
        ge=1,
        le=1000,
        description="Smallest number of trainings of every candidate that is likely on the front.",
    )


class RoundsSpec(_Part):
    """r1: Sobol; r2: a Gaussian process on the error, costs exact; r3: morphs of Pareto parents with inherited weights.

    repeats: the front over several seeds.
    """

    r1: RoundSpec = Field(RoundSpec(trials=10, epochs=5), description="Sobol points, drawn until feasible.")
    r2: RoundSpec = Field(
        RoundSpec(trials=20, epochs=5), description="Points of largest expected hypervolume improvement."
    )
    r3: RoundSpec = Field(
        RoundSpec(trials=20, epochs=3),
        description="Morphs of Pareto parents; they inherit weights and need fewer epochs.",
    )
    repeats: RepeatsSpec = Field(
        RepeatsSpec(), description="Repetitions over seeds that settle which candidates are on the front."
    )

    @property
    def trials(self) -> int:
        """Number of trials of all rounds."""
        return self.r1.trials + self.r2.trials + self.r3.trials

    @model_validator(mode="after")
    def _check_trials(self) -> Self:
        if self.trials == 0:
            raise ValueError("at least one round needs trials")
        if self.r3.trials and not (self.r1.trials or self.r2.trials):
            raise ValueError("r3 morphs the front of r1 and r2: one of them needs trials")
        return self


class StopSpec(_Part):
    """Early stop: the search gained less than `tolerance` of hypervolume over the last `trials` completed trials."""

    tolerance: float = Field(
        1e-3,
        ge=0,
        description="Hypervolume gain (share of the reference box) below which the search has converged.",
    )
    trials: int = Field(20, ge=1, description="Completed trials over which the gain is measured.")


class EarlierTrial(_Part):
    """A trained network of an earlier experiment on the same data."""

    parameters: dict[str, Value] = Field(description="Parameters of its network and its training.")
    epochs: float = Field(ge=0, description="Epochs of training in its weights, inherited ones included.")
    value: float = Field(description="The task's metric, such as the error, on its validation data.")

    def within(self, space: Space) -> "EarlierTrial | None":
        """Return the trial with the space's parameters: without those that the space lacks, with defaults for missing ones.

        Return None when the space does not contain the network.
        """
        parameters = space.complete(self.parameters)
        clipped = any(self.parameters.get(name, value) != value for name, value in parameters.items())
        if clipped or not space.is_valid(parameters):
            return None
        return self.model_copy(update={"parameters": parameters})


_TITLES = {"r1": "Sobol", "r2": "model", "r3": "morphs"}

REPEATS = "repeats"
"""The round of the repetitions over seeds."""


class SearchConfig(SourceConfig):
    """Sobol points, then a Gaussian process with exact costs, then morphs of the front."""

    top_level: ClassVar[Mapping[str, str]] = {"rounds": "rounds", "search": ""}
    config_keys: ClassVar[Mapping[str, ConfigKey]] = {
        "r1": whole("source.rounds.r1.trials", "trials of the first round (Sobol)"),
        "r2": whole("source.rounds.r2.trials", "trials of the second round (Gaussian process)"),
        "r3": whole("source.rounds.r3.trials", "trials of the third round (morphisms)"),
        "epochs1": whole("source.rounds.r1.epochs", "epochs of training in the first round"),
        "epochs2": whole("source.rounds.r2.epochs", "epochs of training in the second round"),
        "epochs3": whole("source.rounds.r3.epochs", "epochs of training in the third round"),
        "batch_size": whole("source.batch_size", "candidates chosen together in rounds 2 and 3"),
        "morphisms": flag(
            "off: no third round, regardless of r3", {}, {"source": {"rounds": {"r3": {"trials": 0}}}}
        ),
    }

    name: Literal["search"] = Field("search", description="Sobol points, model, morphs.")
    rounds: RoundsSpec = Field(RoundsSpec(), description="The rounds of the search.")
    batch_size: int = Field(
        1, ge=1, le=100, description="Candidates chosen together in rounds 2 and 3; all distinct."
    )
    acquisition: Literal["ehvi", "ax"] = Field(
        "ehvi", description="`ehvi`: closed form with exact costs; `ax`: Ax's default."
    )
    max_draws: int = Field(
        500,
        ge=1,
        le=100_000,
        description="Sobol draws without a feasible one before the space is called empty.",
    )
    in_step: bool = Field(
        False,
        description="Suggest a batch only when the previous batch has finished, as `sparsemod run` does. The service then finds the same trials as a local run; workers beyond `batch_size` have nothing to do.",
    )
    stop: StopSpec | None = Field(None, description="Optional stopping rule.")
    earlier: tuple[EarlierTrial, ...] = Field(
        (),
        description="Trials of earlier experiments on the same data, for the model; `--from` of `sparsemod run` and `sparsemod submit` fills it.",
    )

    @model_validator(mode="after")
    def _check_earlier(self) -> Self:
        if self.earlier and self.acquisition != "ehvi":
            raise ValueError(
                "`earlier` needs the acquisition ehvi: Ax learns from the experiment's own trials only"
            )
        return self

    def check(self, space: Space) -> None:
        """Check that the space contains the network of an earlier trial, where there are any. Raises InvalidInput."""
        if self.earlier and not any(trial.within(space) for trial in self.earlier):
            raise InvalidInput(
                "source.earlier", f"{len(self.earlier)} trials", "trials of which one is in the spec's space"
            )

    def plan(self) -> tuple[Round, ...]:
        """Return the three rounds, and the repetitions if there are any.

        A repetition has as many epochs as the trial that it repeats; the round states those of round 2.
        """
        rounds = tuple(
            Round(name, title, part.trials, part.epochs)
            for name, title in _TITLES.items()
            for part in (getattr(self.rounds, name),)
        )
        if self.rounds.repeats.trials == 0:
            return rounds
        return (
            *rounds,
            Round(REPEATS, "over seeds", self.rounds.repeats.trials, self.rounds.r2.epochs),
        )

    def extended(self, more: Mapping[str, int]) -> Self:
        """Return the config with more trials for some rounds. Raises InvalidInput."""
        rounds = self.rounds
        for name, count in more.items():
            if name not in (*_TITLES, REPEATS):
                raise InvalidInput(f"rounds.{name}", count, f"r1, r2, r3 or {REPEATS}")
            if count < 0:
                raise InvalidInput(f"rounds.{name}", count, "a number of further trials, not negative")
            part: RoundSpec | RepeatsSpec = getattr(rounds, name)
            longer = part.model_copy(update={"trials": part.trials + count})
            rounds = rounds.model_copy(update={name: longer})
        return self.model_copy(update={"rounds": rounds})

    def may_stop(self, candidate: Candidate) -> bool:
        """Return whether it is no repetition: repetitions measure the noise, which stopped trainings would hide."""
        return candidate.round != REPEATS

    @property
    def batch(self) -> int:
        """Number of candidates chosen together."""
        return self.batch_size

    @property
    def waits(self) -> bool:
        """Whether `in_step` is set."""
        return self.in_step

    @property
    def manual_epochs(self) -> int:
        """Epochs of round 2, which trains from fresh weights like a manual candidate."""
        return self.rounds.r2.epochs

    @property
    def patience(self) -> int:
        """Number of consecutive misses before the space is called empty."""
        return self.max_draws

    @property
    def inherits(self) -> bool:
        """Whether round 3 has trials, which are morphs."""
        return self.rounds.r3.trials > 0


def search_config(spec: ExperimentSpec) -> SearchConfig:
    """Return the search settings of a spec. Raises InvalidInput when its source is not the search."""
    if not isinstance(spec.source, SearchConfig):
        raise InvalidInput("source.name", spec.source.name, "search")
    return spec.source
