"""What flows between search, trials, store and users: candidates, measurements, curves, results.

Plain validated data that knows no database and no file format; each survives a round trip through JSON.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparsemod.layouts import TensorLayout, default_layout, layout

Value = int | float | str | bool
"""A parameter's value. JSON keeps the four apart."""

LABEL_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"

Label = Annotated[str, Field(min_length=1, max_length=20, pattern=LABEL_PATTERN)]
"""A word that a candidate source gives its candidates: how it chose one (`origin`), or to which part of the experiment it belongs (`round`)."""


class Record(BaseModel):
    """Frozen, strict about unknown keys, equal by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class TrialState(StrEnum):
    """The states of a trial; each word's meaning in one line."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker holds its lease
    COMPLETED = "completed"  # every objective was measured
    INFEASIBLE = "infeasible"  # its costs break a budget: never trained
    FAILED = "failed"  # cannot be built, or lost too many attempts
    STOPPED = "stopped"  # the user ended it

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self not in (TrialState.QUEUED, TrialState.RUNNING)


class FailureKind(StrEnum):
    """Why an attempt did not complete."""

    INVALID = "invalid"  # the network cannot be built: never again
    FAULT = "fault"  # worker lost, out of memory, time limit: retried up to a limit
    ENVIRONMENT = "environment"  # the machine lacks something: spends no attempt, the trial is given back


class Failure(Record):
    """What went wrong, for people (`message`) and for the retry rule (`kind`)."""

    kind: FailureKind
    message: str
    detail: str = ""


class DataInfo(Record):
    """What a network must know of its data. `shape` is one sample's, whose axes `layout` names (see `sparsemod.layouts`).

    A layout that is not stated is the first one with as many axes: features (F,), channels-length (C, L), channels-height-width (C, H, W).
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    layout: str = ""

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

    @property
    def axes(self) -> TensorLayout:
        """The layout of a sample."""
        return layout(self.layout, self.shape)


class Measurement(Record):
    """One number with its unit, how it was obtained and on what.

    `method` says how (for example "integer network on 270 samples"), `target` on what device or host, `split` which data (None where no
    data are involved), `standard_error` in the same unit.
    """

    metric: str
    value: float
    unit: str
    method: str
    target: str | None = None
    split: Literal["train", "validation", "test"] | None = None
    standard_error: float | None = None
    detail: dict[str, Any] = Field(default_factory=dict)


MAX_EPOCH = 1_000_000
"""Ten times the most epochs that a spec may ask for."""


class CurvePoint(Record):
    """One epoch of a learning curve; `epoch` counts from 1, `seconds` is wall time since training began."""

    epoch: Annotated[int, Field(ge=1, le=MAX_EPOCH)]
    train_loss: float
    validation_loss: float
    validation_error: float
    learning_rate: float
    sparsity: float = 0.0
    seconds: float = 0.0


class Candidate(Record):
    """A point of the search space and where it came from. `parent` is a trial's index in the same experiment."""

    parameters: dict[str, Value]
    origin: Label
    round: Label
    parent: int | None = None
    operators: tuple[str, ...] = ()


class Artifact(Record):
    """A file of a trial: `kind` (weights, network, ...), content digest ("sha256:<hex>"), bytes, and the name it is downloaded under."""

    kind: str
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    name: str


class TrialResult(Record):
    """What one evaluation found. `seconds` maps a stage of the pipeline to wall seconds; `notes` are sentences worth keeping."""

    state: TrialState
    measurements: tuple[Measurement, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    artifacts: tuple[Artifact, ...] = ()
    epochs: float = 0.0  # epochs of training in these weights, the inherited ones included

    def value(self, metric: str) -> float | None:
        """The value of `metric`, None when it was not measured. A metric is measured at most once per split."""
        found = [m for m in self.measurements if m.metric == metric and m.split != "test"]
        return found[0].value if found else None

    def values(self) -> dict[str, float]:
        """All metrics that do not come from test data."""
        return {m.metric: m.value for m in self.measurements if m.split != "test"}
