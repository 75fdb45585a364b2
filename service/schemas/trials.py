"""What goes over HTTP: requests and answers, validated on both sides.

Times are UTC. An experiment has a number (`id`); a trial is named by its experiment and its index there; an attempt has a number of its own.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from sparsemod.records import (
    Artifact,
    Candidate,
    CurvePoint,
    Failure,
    Label,
    Measurement,
    Record,
    TrialResult,
    TrialState,
    Value,
)
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
    """Base of the requests: unknown keys are refused, numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ExperimentState(StrEnum):
    """The states of an experiment."""

    RUNNING = "running"  # trials are suggested and handed out
    STOPPED = "stopped"  # by the user; resume goes on where it stopped
    DONE = "done"  # the candidate source has no more, or the stopping rule held
    FAILED = "failed"  # cannot go on, `reason` says why


class AttemptState(StrEnum):
    """What became of an attempt."""

    RUNNING = "running"  # its worker holds the lease
    COMPLETED = "completed"  # brought a final result
    FAILED = "failed"  # reported a failure
    LOST = "lost"  # its lease ran out: worker or network gone
    RELEASED = "released"  # given back unfinished: the worker ended, or its machine lacks something
    STOPPED = "stopped"  # ended because the user stopped the experiment or the trial


# -- experiments ----------------------------------------------------------------------------------------------------------------------


class CreateExperiment(Request):
    """A new experiment. `spec` is checked as an ExperimentSpec; mistakes come back with the field's name."""

    spec: dict[str, Any] = Field(
        description="The specification, see the schema ExperimentSpec.",
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
    """One round: its `title`, what was asked for and how far it is. `done` counts trials that are over; where the source replaces infeasible
    candidates and networks that cannot be built, as a search does, these count for nothing. `planned`: the source has it; a round of trials
    attached by hand is not planned."""

    title: str
    planned: bool
    trials: int
    epochs: int
    done: int
    counts: dict[TrialState, int]


class ExperimentSummary(View):
    """An experiment without its spec, as in lists."""

    id: int
    name: str
    owner: str | None = Field(
        None, description="Whose token made it; only that owner and admins may change it."
    )
    state: ExperimentState
    reason: str | None = Field(None, description="Why it is done, or failed.")
    paused: str | None = Field(
        None,
        description="Why a running experiment does not go on at the moment: what the machines lack. It goes on by itself, or at once by `resume`.",
    )
    spec_error: str | None = Field(
        None,
        description="Why the stored spec does not validate on this server. Until it is mended, no trial is suggested or handed out.",
    )
    objectives: tuple[str, ...]
    counts: dict[TrialState, int] = Field(description="Trials by state.")
    rounds: dict[Label, RoundProgress] = Field(description="By label, in the order of the source.")
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    trials_per_minute: float | None = Field(
        None,
        description="Of the latest trials that ended, the longest pause left out; none while there are few.",
    )
    revision: int = Field(description="Counter of its last event: from it one can ask for what came after.")

    def spec_trouble(self) -> str | None:
        """`spec_error` as a sentence with what can be done; None for a valid spec."""
        if self.spec_error is None:
            return None
        return f"its stored spec is not valid: {self.spec_error}; `sparsemod mend {self.id} SPEC` replaces it"


class ExperimentView(ExperimentSummary):
    """An experiment. `budgets` and `reference_point` are those in force: the spec's own, and what its device sets where it has none."""

    spec: ExperimentSpec = Field(
        description="Where the stored spec does not validate (see `spec_error`): what can be read of it, with defaults for the rest."
    )
    stored_spec: Any | None = Field(
        None, description="The spec as it is stored, shown only when it does not validate."
    )
    budgets: dict[str, float]
    reference_point: dict[str, float]


class RetryTrials(Request):
    """Failed trials to try again: `trials` by index, null for all that failed by a fault. A network that cannot be built must be named."""

    trials: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)], ...] | None, Field(max_length=10_000)
    ] = None


class Retried(View):
    """The trials that are queued again."""

    trials: tuple[int, ...]


class ExtendExperiment(Request):
    """More trials by round, as the experiment's source allows, and other budgets: metric -> limit (a number or text with a unit), null removes
    it."""

    rounds: dict[Label, Count] = Field(default_factory=dict, examples=[{"grid": 12}])
    budgets: dict[str, str | float | None] | None = Field(
        None, examples=[{"model_size": "32 KB", "latency": None}]
    )


class Page(View, Generic[T]):
    """A part of a list; `total` counts all that match."""

    items: tuple[T, ...]
    total: int


# -- trials ---------------------------------------------------------------------------------------------------------------------------


class AttachTrial(Request):
    """A candidate of the user's own: checked against the experiment's space. `epochs`: default, those that the experiment's source
    gives fresh networks."""

    parameters: dict[str, Value] = Field(examples=[{"blocks": 1, "filters": 8}])
    epochs: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None


class StoredArtifact(Artifact):
    """A file of a trial, with the path under which the server hands it out."""

    url: str


class AttemptView(View):
    """One worker's go at a trial."""

    attempt: int
    worker: str
    device: str
    state: AttemptState
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None = None
    failure: Failure | None = None


class TrialView(View):
    """A trial. `epochs` is what was asked for, `trained_epochs` what its weights have seen, inherited epochs included."""

    experiment: int
    index: int
    state: TrialState
    candidate: Candidate
    epochs: int
    seed: int
    costs: dict[str, float] = Field(description="Costs known before training: metric -> value.")
    measurements: tuple[Measurement, ...] = ()
    trained_epochs: float = 0.0
    seconds: dict[str, float] = Field(default_factory=dict, description="Wall seconds by stage.")
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    artifacts: tuple[StoredArtifact, ...] = ()
    attempts: tuple[AttemptView, ...] = ()
    created_at: datetime
    finished_at: datetime | None = None

    def values(self) -> dict[str, float]:
        """Metric -> value, test data excluded."""
        return {m.metric: m.value for m in self.measurements if m.split != "test"}


class LogLine(Request):
    """A line that a trial wrote; `time` in seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    time: Annotated[float, Field(ge=0, le=1e11)]
    level: Annotated[str, Field(max_length=40)]
    message: Annotated[str, Field(max_length=20_000)]


# -- the front ------------------------------------------------------------------------------------------------------------------------


class Ancestor(View):
    """A step of a lineage: the trial that was changed, and the operators that led from it to its child."""

    index: int
    operators: tuple[str, ...]


class ParetoPoint(View):
    """A point of the front; `lineage` holds its ancestors, nearest first."""

    index: int
    origin: Label
    round: Label
    parameters: dict[str, Value]
    measurements: tuple[Measurement, ...]
    lineage: tuple[Ancestor, ...]
    artifacts: tuple[StoredArtifact, ...]

    def values(self) -> dict[str, float]:
        """Metric -> value, test data excluded."""
        return {m.metric: m.value for m in self.measurements if m.split != "test"}


class HistoryPoint(View):
    """Hypervolume after so many completed trials; `index` and `round` are those of the last one."""

    trials: int
    hypervolume: float
    index: int
    round: Label


class ParetoView(View):
    """The front over completed trials that meet the budgets. Hypervolume is the share of the box between zero and the reference point."""

    experiment: int
    name: str
    objectives: tuple[str, ...]
    reference_point: dict[str, float]
    budgets: dict[str, float]
    points: tuple[ParetoPoint, ...]
    hypervolume: float
    history: tuple[HistoryPoint, ...]


class Event(View):
    """Something that happened to an experiment. `counter` rises by one with each."""

    counter: int
    time: datetime
    kind: Literal["experiment", "trial", "attempt", "points"]
    data: dict[str, Any]


# -- workers --------------------------------------------------------------------------------------------------------------------------


class ClaimRequest(Request):
    """A worker asks for a trial. A repeated `request` (any unique text) gets the same answer again."""

    worker: Word
    device: Word = "cpu"
    slots: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    request: Token | None = None
    started: bool = Field(
        False, strict=True, description="The worker's first claim: what paused it before is forgotten."
    )


class ParentTrial(View):
    """The trial whose weights a morph inherits."""

    index: int
    parameters: dict[str, Value]
    epochs: float
    artifacts: tuple[Artifact, ...]


class Claim(View):
    """A trial to evaluate. Only who shows `token` may report; the lease ends `lease_seconds` after the last heartbeat."""

    attempt: int
    token: str
    lease_seconds: float
    experiment: int
    trial: int
    spec: ExperimentSpec
    candidate: Candidate
    epochs: int
    seed: int
    parent: ParentTrial | None = None
    checkpoint: str | None = None


class Fence(Request):
    """The proof that a report comes from the holder of the lease."""

    token: Token


class Heartbeat(View):
    """The lease is renewed for `lease_seconds`; `stop` asks the worker to end the trial between two epochs."""

    stop: bool
    lease_seconds: float


class ReportPoints(Fence):
    """Curve points (a repeated epoch replaces the earlier one) and log lines (a repeated one is kept once)."""

    points: Annotated[tuple[CurvePoint, ...], Field(max_length=10_000)] = ()
    log: Annotated[tuple[LogLine, ...], Field(max_length=10_000)] = ()


class ReportCheckpoint(Fence):
    """From what a later attempt can go on: the digest of an uploaded file."""

    digest: Digest


class ReportResult(Fence):
    """The end of an attempt."""

    result: TrialResult


class Finished(View):
    """What the result made of the trial: a final state, or queued again."""

    experiment: int
    trial: int
    state: TrialState


class PauseView(View):
    """Something that cannot go on because a machine lacks something (space, data, a module, a GPU). No `worker`: all of them; no
    `experiment`: all of them. It is tried again at `until`."""

    reason: str
    worker: str | None = None
    experiment: int | None = None
    since: datetime
    until: datetime


class WorkerView(View):
    """A worker that was heard of lately and the trials that it holds, as [experiment, index] pairs."""

    name: str
    device: str
    slots: int
    first_seen: datetime
    last_seen: datetime
    alive: bool
    draining: bool = Field(False, description="Whether it gets no more trials.")
    pauses: tuple[PauseView, ...] = Field((), description="What it cannot do at the moment, and why.")
    trials: tuple[tuple[int, int], ...]


class Drain(Request):
    """Whether a worker is to get no more trials."""

    drain: bool = Field(True, strict=True)


class ArtifactInfo(View):
    """A stored file."""

    digest: str
    size: int
    url: str


class Health(View):
    """The server can work: its database takes a write, and its disk has room for artifacts."""

    status: Literal["ok"]
    version: str
    database: Literal["sqlite", "postgresql"]
    schema_version: str
    free_bytes: int = Field(description="Free space on the disk of the artifacts.")
    pauses: tuple[PauseView, ...] = Field((), description="What cannot go on at the moment, and why.")
