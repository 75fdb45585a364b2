"""HTTP schemas of experiments, trials and workers: requests and answers, validated on both sides.

Times are UTC. An experiment has a number (`id`), an attempt too. An experiment and an index identify a trial.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from sparsemod.records import (
    SCALES,
    Artifact,
    Failure,
    FrontPoint,
    Label,
    ParetoFront,
    Record,
    TrialRecord,
    TrialState,
    Value,
)
from sparsemod.scales import Scale
from sparsemod.spec.experiment import ExperimentSpec

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"

Digest = Annotated[str, Field(pattern=DIGEST_PATTERN, examples=["sha256:" + "0" * 64])]
Count = Annotated[int, Field(strict=True, ge=0, le=100_000)]
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Token = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
T = TypeVar("T")


class View(Record):
    """Base of the answers."""


class Request(BaseModel):
    """Base of the requests: unknown keys are errors, numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ExperimentState(StrEnum):
    """The states of an experiment."""

    RUNNING = "running"  # trials are suggested and handed out
    STOPPED = "stopped"  # by the user; resume continues it
    DONE = "done"  # the candidate source has no more, or the stopping rule held
    FAILED = "failed"  # cannot continue; `reason` holds the cause


class AttemptState(StrEnum):
    """The states of an attempt."""

    RUNNING = "running"  # its worker holds the lease
    COMPLETED = "completed"  # reported a final result
    FAILED = "failed"  # reported a failure
    LOST = "lost"  # its lease expired: worker or network failed
    RELEASED = "released"  # returned unfinished: the worker ended, or its machine lacks something
    STOPPED = "stopped"  # ended because the user stopped the experiment or the trial, or the rule the trial


# -- experiments ----------------------------------------------------------------------------------------------------------------------


class CreateExperiment(Request):
    """A new experiment. The server checks `spec` as an ExperimentSpec; errors name the field."""

    spec: dict[str, Any] = Field(
        description="The specification; see the schema ExperimentSpec.",
        examples=[
            {
                "name": "digits on an M4",
                "dataset": {"name": "digits"},
                "network": {"family": "cnn"},
                "source": {"name": "grid", "values": {"head": ["flatten", "average"]}, "repetitions": 3},
                "objectives": ["error", "model_size"],
                "budgets": ["flash <= 64 KB"],
            }
        ],
    )


class RoundProgress(View):
    """One round: its `title`, its plan and its progress. `done` counts finished trials; where the source replaces infeasible
    candidates and networks that cannot be built, as a search does, these count for nothing. `planned`: the source has it; a round of trials
    attached by hand is not planned."""

    title: str
    planned: bool
    trials: int
    epochs: int
    done: int
    counts: dict[TrialState, int]


class ExperimentSummary(View):
    """An experiment without its spec, for lists."""

    id: int
    name: str
    owner: str | None = Field(
        None, description="Owner of the token that created it. Only this owner and admins may change it."
    )
    state: ExperimentState
    reason: str | None = Field(None, description="Why the experiment is done or failed.")
    paused: str | None = Field(
        None,
        description="Why a running experiment is paused: the resource that its machines lack. It continues automatically, or at once with `resume`.",
    )
    spec_error: str | None = Field(
        None,
        description="Why the stored spec does not validate on this server. Until `mend` replaces it, no trial is suggested or handed out.",
    )
    objectives: tuple[str, ...]
    counts: dict[TrialState, int] = Field(description="Trials by state.")
    rounds: dict[Label, RoundProgress] = Field(description="By label, in the order of the source.")
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    trials_per_minute: float | None = Field(
        None,
        description="Rate of the latest finished trials, without their longest pause; null while they are few.",
    )
    kept: bool = Field(False, description="Whether retention must delete nothing of it, see `keep`.")
    revision: int = Field(description="Counter of its last event; pass it as `after` to get later events.")

    def spec_trouble(self) -> str | None:
        """Return `spec_error` as a sentence with the remedy, or None for a valid spec."""
        if self.spec_error is None:
            return None
        return f"its stored spec is not valid: {self.spec_error}; `sparsemod mend {self.id} SPEC` replaces it"


class ExperimentView(ExperimentSummary):
    """An experiment. `budgets`, `reference_point` and `scales` are those in effect: from the spec, else from its device."""

    spec: ExperimentSpec = Field(
        description="The spec. If the stored one does not validate (see `spec_error`): its valid parts, with defaults for the rest."
    )
    stored_spec: Any | None = Field(
        None, description="The spec as stored; only present when it does not validate."
    )
    budgets: dict[str, float]
    reference_point: dict[str, float]
    scales: dict[str, Scale] = Field(description=SCALES)


class RetryTrials(Request):
    """Failed or stopped trials to retry: `trials` by index, or null for all that failed by a fault.
    Name a trial that was stopped, or whose network cannot be built."""

    trials: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)], ...] | None, Field(max_length=10_000)
    ] = None


class Keep(Request):
    """Protection from retention: of trials by index, or of the whole experiment when `trials` is null. `{"keep": false}`
    ends it."""

    keep: bool = True
    trials: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)], ...] | None,
        Field(min_length=1, max_length=1000),
    ] = None


class Retried(View):
    """The requeued trials."""

    trials: tuple[int, ...]


class ExtendExperiment(Request):
    """More trials by round, as the experiment's source allows, and other budgets: metric -> limit (a number or text with a unit), null removes
    it."""

    rounds: dict[Label, Count] = Field(default_factory=dict, examples=[{"grid": 12}])
    budgets: dict[str, str | float | None] | None = Field(
        None, examples=[{"model_size": "32 KB", "latency": None}]
    )


class Page(View, Generic[T]):
    """One page of a list; `total` counts all matches."""

    items: tuple[T, ...]
    total: int


# -- trials ---------------------------------------------------------------------------------------------------------------------------


class AttachTrial(Request):
    """A candidate of the user's own: checked against the experiment's space. `epochs`: default, those that the experiment's source
    gives fresh networks."""

    parameters: dict[str, Value] = Field(examples=[{"blocks": 1, "filters": 8}])
    epochs: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None


def artifact_url(digest: str) -> str:
    """Return the URL path at which the server serves a file."""
    return f"/artifacts/{digest}"


class StoredArtifact(Artifact):
    """A file of a trial, with its path on the server."""

    url: str

    @classmethod
    def of(cls, artifact: Artifact) -> "StoredArtifact":
        """Return a file with its path on the server."""
        return cls(**artifact.model_dump(), url=artifact_url(artifact.digest))


class AttemptView(View):
    """One worker's attempt at a trial."""

    attempt: int
    worker: str
    device: str
    state: AttemptState
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None = None
    failure: Failure | None = None


class TrialView(TrialRecord):
    """A trial. `epochs` is the planned number;
    `trained_epochs` is what its weights were trained for, inherited epochs included."""

    experiment: int
    costs: dict[str, float] = Field(description="Costs known before training: metric -> value.")
    artifacts: tuple[StoredArtifact, ...] = ()
    attempts: tuple[AttemptView, ...] = ()
    created_at: datetime
    finished_at: datetime | None = None
    kept: bool = Field(False, description="Whether retention must keep its files, see `keep`.")
    files_expired_at: datetime | None = Field(
        None, description="When retention deleted its files; null when it did not."
    )

    def known_values(self) -> dict[str, float]:
        """Metric -> value: the measurements, test data excluded, and the costs known before training of other metrics."""
        return {**self.costs, **self.values()}


class LogLine(Request):
    """A line of a trial's log; `time` in seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    time: Annotated[float, Field(ge=0, le=1e11)]
    level: Annotated[str, Field(max_length=40)]
    message: Annotated[str, Field(max_length=20_000)]


# -- the front ------------------------------------------------------------------------------------------------------------------------


class ParetoPoint(FrontPoint):
    """A point of the front; `lineage` holds its ancestors, nearest first."""

    artifacts: tuple[StoredArtifact, ...]


class ParetoView(ParetoFront):
    """The front of the completed trials that meet the budgets.
    Hypervolume is the dominated share of the box from the low ends of the scales to the reference point."""

    experiment: int
    points: tuple[ParetoPoint, ...]


class Event(View):
    """An event of an experiment. `counter` increases by one with each event."""

    counter: int
    time: datetime
    kind: Literal["experiment", "trial", "attempt", "points"]
    data: dict[str, Any]


# -- workers --------------------------------------------------------------------------------------------------------------------------


class PauseView(View):
    """A pause because a machine lacks something (space, data, a module, a GPU).
    A null `worker` or `experiment` means all of them. The next try is at `until`."""

    reason: str
    worker: str | None = None
    experiment: int | None = None
    since: datetime
    until: datetime


class ArtifactInfo(View):
    """A stored file."""

    digest: str
    size: int
    url: str

    @classmethod
    def of(cls, digest: str, size: int) -> "ArtifactInfo":
        """Return a file with its path on the server."""
        return cls(digest=digest, size=size, url=artifact_url(digest))


class Health(View):
    """The server is ready: its database accepts a write, and its disk has space for artifacts."""

    status: Literal["ok"]
    version: str
    database: Literal["sqlite", "postgresql"]
    schema_version: str
    free_bytes: int = Field(description="Free space on the disk of the artifacts.")
    pauses: tuple[PauseView, ...] = Field((), description="Current pauses, with reasons.")
