"""Records that search, trials, store and users exchange: candidates, measurements, curves, results.

They are validated data without knowledge of databases or file formats. Each survives a round trip through
JSON.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparsemod.layouts import TensorLayout, default_layout, layout
from sparsemod.scales import Scale

SCALES = "Scale of each objective: `low` is at 0, `high` (the reference value) at 1; `log` is the logarithm of value + offset."

Value = int | float | str | bool
"""A parameter's value. JSON distinguishes the four types."""

LABEL_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"

Label = Annotated[str, Field(min_length=1, max_length=20, pattern=LABEL_PATTERN)]
"""A word that a candidate source gives its candidates: how it chose one (`origin`), or the part of the experiment (`round`)."""


class Record(BaseModel):
    """Base of the records: frozen, no unknown keys, compared by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class TrialState(StrEnum):
    """The states of a trial."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker holds its lease
    COMPLETED = "completed"  # every objective was measured
    INFEASIBLE = "infeasible"  # exceeds a budget; never trained
    FAILED = "failed"  # cannot be built, or lost too many attempts
    STOPPED = "stopped"  # the user or the stopping rule ended it

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self not in (TrialState.QUEUED, TrialState.RUNNING)


class FailureKind(StrEnum):
    """Why an attempt did not complete."""

    INVALID = "invalid"  # the network cannot be built; never retried
    FAULT = "fault"  # worker lost, out of memory, time limit; retried up to a limit
    ENVIRONMENT = (
        "environment"  # the machine lacks something; the trial returns to the queue, no attempt is counted
    )


class Failure(Record):
    """Why an attempt failed: `message` for people, `kind` for the retry rule."""

    kind: FailureKind
    message: str
    detail: str = ""


class DataInfo(Record):
    """The facts about a dataset that a network needs.

    `shape` is the shape of one sample; `layout` names its axes (see `sparsemod.layouts`). `sequences`: samples have
    different numbers of valid steps, and zeros as padding after them; `packed`: the user's collate_fn packs them, and a module
    class of the user gets packed sequences. `classes`: the number of classes, labels or values.
    `outputs`: the shape of a network's outputs for one sample, by default (classes,); (classes, H, W) for a class at each
    position.

    The default layout is the first one with as many axes: features (F,), channels-length (C, L),
    channels-height-width (C, H, W).
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    layout: str = ""
    sequences: bool = False
    packed: bool = False
    outputs: tuple[int, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _default_layout(cls, values: Any) -> Any:
        if (
            isinstance(values, dict)
            and not values.get("layout")
            and isinstance(values.get("shape"), tuple | list)
        ):
            return {**values, "layout": default_layout(tuple(values["shape"]))}
        return values

    @model_validator(mode="after")
    def _layout_fits(self) -> "DataInfo":
        layout(self.layout, self.shape)
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_outputs(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("outputs") and "classes" in values:
            return {**values, "outputs": (values["classes"],)}
        return values

    @property
    def axes(self) -> TensorLayout:
        """The layout of a sample."""
        return layout(self.layout, self.shape)


class Measurement(Record):
    """One number with its unit and how it was obtained.

    `method`: how it was measured, for example "integer network on 270 samples". `target`: the device or host.
    `split`: the data, None if none were used. `standard_error`: in the same unit.
    """

    metric: str
    value: float
    unit: str
    method: str
    target: str | None = None
    split: Literal["train", "validation", "test"] | None = None
    standard_error: float | None = None
    detail: dict[str, Any] = Field(default_factory=dict)

    @property
    def on_test(self) -> bool:
        """Whether it was measured on test data, which no choice may depend on."""
        return self.split == "test"


class Measured(Record):
    """Base of the records with measurements. A metric is measured at most once per split."""

    if TYPE_CHECKING:  # declared by each record, in its own order of fields
        measurements: tuple[Measurement, ...] = ()

    def value(self, metric: str) -> float | None:
        """Return the value of `metric`, None if it was not measured. Test data do not count."""
        return self.values().get(metric)

    def values(self) -> dict[str, float]:
        """Return metric -> value, without measurements on test data."""
        return {m.metric: m.value for m in self.measurements if not m.on_test}

    def standard_errors(self) -> dict[str, float]:
        """Return metric -> standard error where one is stated, without measurements on test data."""
        return {
            m.metric: m.standard_error
            for m in self.measurements
            if m.standard_error is not None and not m.on_test
        }


MAX_EPOCH = 1_000_000
"""Upper bound on an epoch number: ten times the largest number of epochs in a spec."""


class CurvePoint(Record):
    """One epoch of a learning curve.

    `epoch` counts from 1, `seconds` is wall time from the start of training. `angle`: from the gradient of the training
    rule to the true one on the epoch's first batch, in degrees; None where the rule does not measure it.
    """

    epoch: Annotated[int, Field(ge=1, le=MAX_EPOCH)]
    train_loss: float
    validation_loss: float
    validation_error: float
    learning_rate: float
    sparsity: float = 0.0
    seconds: float = 0.0
    angle: float | None = None


class Candidate(Record):
    """A point of the search space and its origin. `parent` is the index of a trial of the same experiment."""

    parameters: dict[str, Value]
    origin: Label
    round: Label
    parent: int | None = None
    operators: tuple[str, ...] = ()


class Artifact(Record):
    """A file of a trial: `kind` (weights, network, ...), digest ("sha256:<hex>"), bytes, download name."""

    kind: str
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    name: str


class StopDecision(Record):
    """Why a stopping rule ended a trial: its judgement after `epoch` of `epochs` epochs. The worker may have trained a few more.

    `probability`: of ending on the front, None where the rule computes none. `expected`: the forecast of the task's
    metric at the last epoch, in its unit; `deviation`: its standard deviation on the logit scale of `sparsemod.quality`.
    Both are None when too few trials had ended for a forecast.
    """

    rule: str
    epoch: Annotated[int, Field(ge=1, le=MAX_EPOCH)]
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCH)]
    reason: str
    probability: float | None = None
    expected: float | None = None
    deviation: float | None = None

    @property
    def text(self) -> str:
        """The decision as a sentence."""
        return f"stopped by the rule {self.rule}: after epoch {self.epoch} of {self.epochs}, {self.reason}"


class TrialResult(Measured):
    """The result of one evaluation.

    `seconds` maps pipeline stages to wall seconds; `notes` are sentences for the user.
    """

    state: TrialState
    measurements: tuple[Measurement, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    artifacts: tuple[Artifact, ...] = ()
    epochs: float = 0.0  # epochs behind these weights, including inherited ones


class TrialRecord(Measured):
    """A stored trial: its candidate, its plan and what is known of its result.

    `epochs` is the planned number; `trained_epochs` is the number behind its weights, inherited epochs
    included. `seconds` maps pipeline stages to wall seconds. `stopping`: why the stopping rule ended it, None for others.
    """

    index: int
    state: TrialState
    candidate: Candidate
    epochs: int
    seed: int
    measurements: tuple[Measurement, ...] = ()
    trained_epochs: float = 0.0
    seconds: dict[str, float] = Field(default_factory=dict, description="Wall seconds by stage.")
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    artifacts: tuple[Artifact, ...] = ()
    stopping: StopDecision | None = None

    @property
    def total_seconds(self) -> float:
        """The wall seconds of all stages together."""
        return sum(self.seconds.values())

    @property
    def failure_message(self) -> str:
        """Why the trial failed, "" if it did not."""
        return self.failure.message if self.failure else ""

    def completed_values(self) -> dict[str, float]:
        """Return `values` of a completed trial, nothing for others."""
        return self.values() if self.state is TrialState.COMPLETED else {}

    @property
    def stop_reason(self) -> str:
        """Why the stopping rule ended the trial, "" if it did not."""
        return self.stopping.text if self.stopping else ""

    def artifact(self, kind: str) -> Artifact | None:
        """Return the trial's file of this kind, None without one."""
        return next((artifact for artifact in self.artifacts if artifact.kind == kind), None)


class Ancestor(Record):
    """A step of a lineage: the parent trial, and the operators that changed it into its child."""

    index: int
    operators: tuple[str, ...]


class FrontPoint(Measured):
    """A point of the front; `lineage` holds its ancestors, nearest first."""

    index: int
    origin: Label
    round: Label
    parameters: dict[str, Value]
    measurements: tuple[Measurement, ...]
    lineage: tuple[Ancestor, ...]
    artifacts: tuple[Artifact, ...]


class NearMiss(Record):
    """A completed trial over a budget. `excess`: metric over its budget -> value minus limit, in the metric's unit."""

    index: int
    values: dict[str, float]
    excess: dict[str, float]


class HistoryPoint(Record):
    """Hypervolume after `trials` completed trials; `index` and `round` belong to the last one."""

    trials: int
    hypervolume: float
    index: int
    round: Label


class ParetoFront(Record):
    """The front of the completed trials that meet the budgets.

    Hypervolume is the dominated share of the box from the low ends of the scales to the reference point.
    """

    name: str
    objectives: tuple[str, ...]
    reference_point: dict[str, float]
    budgets: dict[str, float]
    scales: dict[str, Scale] = Field(description=SCALES)
    points: tuple[FrontPoint, ...]
    nearest: tuple[NearMiss, ...] = Field(
        (),
        description="While no trial meets the budgets: the completed trials that come nearest, nearest first.",
    )
    hypervolume: float
    history: tuple[HistoryPoint, ...]
