"""HTTP schemas for the dashboard: many trials as columns, computed views, the choices of a form."""

from typing import Any, Literal

from pydantic import Field

from service.schemas.trials import AttemptState, ExperimentState, View
from sparsemod.records import Label, TrialState, Value
from sparsemod.spec.experiment import ExperimentSpec


class Revision(View):
    """An experiment's progress: the counter of its last event, and its state."""

    experiment: int
    revision: int
    state: ExperimentState


class Points(View):
    """Trials as columns of equal length, ordered by index. `state`, `round` and `origin` are indices into
    `states`, `rounds` and `origins`.

    `full`: these are all trials; otherwise only those that changed since the requested revision, to replace
    earlier ones of the same index. `finished` is the counter of the event at which a trial finished, which
    gives the order of completion. `values` holds the measurements, and the costs known before training of
    metrics that were not measured. `operators` (index -> names) lists morphs only. `front`: the trials on the
    Pareto front. `hypervolume`: after each completed trial, null for other trials.
    """

    experiment: int
    revision: int
    full: bool
    states: tuple[TrialState, ...]
    rounds: tuple[Label, ...]
    origins: tuple[Label, ...]
    index: list[int]
    state: list[int]
    round: list[int]
    origin: list[int]
    parent: list[int | None]
    epochs: list[int]
    finished: list[int | None]
    finished_at: list[float | None]
    values: dict[str, list[float | None]]
    parameters: dict[str, list[Value | None]]
    operators: dict[str, list[str]]
    front: list[int]
    hypervolume: list[float | None]


class SpreadView(View):
    """A metric over repetitions: mean, sample standard deviation, smallest and largest value, in the metric's unit."""

    mean: float
    deviation: float
    low: float
    high: float


class RepetitionsView(View):
    """Completed trials of equal parameters and different seeds: their indices, and the spread of every metric that all of them have."""

    parameters: dict[str, Value]
    trials: tuple[int, ...]
    metrics: dict[str, SpreadView]


class StudyPointView(View):
    """Networks of one method and sparsity ("none" and 0: the reference): their trials, and mean, least and most of the
    error and the costs. `damage`: means of the metrics beyond the error. `layers`: the share of each layer that stays."""

    method: str
    sparsity: float
    trials: tuple[int, ...]
    mean: dict[str, float]
    least: dict[str, float]
    most: dict[str, float]
    damage: dict[str, float]
    layers: dict[str, float]


class StudyBestView(View):
    """The smallest networks of a method whose error is at most that of their reference plus `level`, one of each of `of`
    series that has one. `removed`: metric -> share of the reference's cost."""

    level: float
    method: str
    trials: tuple[int, ...]
    of: int
    error: float | None
    costs: dict[str, float]
    removed: dict[str, float]


class StudyView(View):
    """A study: the name of its task's metric, the mean of the references' metric, its curves and its prunability."""

    quality: str
    reference: float | None
    points: tuple[StudyPointView, ...]
    prunability: tuple[StudyBestView, ...]


class FrontMemberView(View):
    """A candidate that may be on the front: means over its completed trials, the standard error of its mean error
    in the error's unit, and the probability that it is on the front."""

    parameters: dict[str, Value]
    trials: tuple[int, ...]
    metrics: dict[str, float]
    standard_error: float | None
    probability: float


class SourceView(View):
    """A candidate source: the default of every setting, as a spec may hold it under `source`, and the titles of its rounds."""

    name: str
    description: str
    defaults: dict[str, Any]
    rounds: dict[str, str]


class Timeline(View):
    """Attempts as columns of equal length, in the order of their start. Times are seconds since 1970; `ended`
    is null for a running attempt.

    `worker` is an index into `workers` and `devices`; `now` is the server's time.
    """

    experiment: int
    now: float
    workers: tuple[str, ...]
    devices: tuple[str, ...]
    attempt: list[int]
    trial: list[int]
    worker: list[int]
    state: list[AttemptState]
    started: list[float]
    ended: list[float | None]


class Computing(View):
    """The answer is being computed; repeat the request in a moment."""

    computing: Literal[True] = True


class Importance(View):
    """The importance of each parameter for each metric: total Sobol' indices of a model of the completed
    trials.

    A total index is the share of the metric's variance over the search space to which the parameter
    contributes, alone or with others. `revision` is the experiment's revision at the computation; `current`
    is true when no trial has completed since. `accuracy` is the model's R² on held-out trials. `unexplained`
    names the metrics whose model predicts those trials no better than their mean (R² at most 0): their
    indices mean nothing. `metrics` is empty, and `reason` is set, when there are too few trials.
    """

    experiment: int
    revision: int
    current: bool
    trials: int
    metrics: dict[str, dict[str, float]]
    accuracy: dict[str, float]
    reason: str | None = None
    unexplained: tuple[str, ...] = ()


class GraphLayer(View):
    """An operator as deployed. `parameters` counts weights and biases;
    `bytes` is their stored size; shapes have no batch dimension."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    parameters: int
    bytes: int
    macs: int
    output_bytes: int
    activation: str | None
    attributes: dict[str, Any]


class GraphMoment(View):
    """The memory in use while an operator runs: total bytes, and bytes by tensor."""

    operator: str
    bytes: int
    tensors: dict[str, int]


class TrialGraph(View):
    """A trial's network as deployed: batch norm folded, activations fused, pruned filters removed."""

    experiment: int
    trial: int
    input: str
    input_shape: tuple[int, ...]
    output: str
    layers: tuple[GraphLayer, ...]
    timeline: tuple[GraphMoment, ...]
    peak_bytes: int
    parameters: int
    bytes: int
    macs: int


class OptionView(View):
    """An option of a family or a dataset. `default` is null for a required option."""

    name: str
    default: Any
    required: bool


class FamilyView(View):
    """A network family. `spaces`: dataset -> parameters of the space, for each dataset with a known shape that
    the family can read. It is empty if the family has a required option. `task`: the only task of its networks, null for any."""

    name: str
    description: str
    task: str | None
    options: tuple[OptionView, ...]
    spaces: dict[str, tuple[dict[str, Any], ...]]


class SettingView(View):
    """A setting of a method. `many`: it may be a list, of which the search chooses; `default` is then a list."""

    name: str
    description: str
    default: Any
    many: bool


class FrontEndView(View):
    """A front end: signal processing in front of a network, with the settings that a spec may hold under `network.front_end`."""

    name: str
    description: str
    settings: tuple[SettingView, ...]


class TaskView(View):
    """A task: what networks learn."""

    name: str
    description: str


class DatasetView(View):
    """A dataset. Shape, layout and classes are null when they are known only after loading.
    `layout` names the axes of a sample, such as `channels-length`."""

    name: str
    description: str
    options: tuple[OptionView, ...]
    shape: tuple[int, ...] | None
    layout: str | None
    classes: int | None


class DeviceView(View):
    """A target device: flash and RAM in bytes, clock in Hz."""

    name: str
    title: str
    core: str
    clock: int
    flash: int
    ram: int


class MetricView(View):
    """A metric: the unit of stored values, and the units allowed in a limit."""

    name: str
    title: str
    unit: str
    units: tuple[str, ...]
    objective: bool


class Catalogue(View):
    """Everything that a spec may name on this server, the schema of a spec, and an example."""

    tasks: tuple[TaskView, ...]
    families: tuple[FamilyView, ...]
    front_ends: tuple[FrontEndView, ...]
    datasets: tuple[DatasetView, ...]
    sources: tuple[SourceView, ...]
    devices: tuple[DeviceView, ...]
    metrics: tuple[MetricView, ...]
    aliases: dict[str, str]
    schema_: dict[str, Any] = Field(alias="schema", description="JSON schema of a spec.")
    defaults: dict[str, Any] = Field(description="An example spec with all defaults filled in.")


class Checked(View):
    """A valid spec: completed with its defaults, and as YAML."""

    spec: ExperimentSpec
    yaml: str
