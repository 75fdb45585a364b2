"""What goes over HTTP to the dashboard: many trials as columns, what was computed of them, what a form may offer."""

from typing import Any, Literal

from pydantic import Field

from service.schemas.trials import AttemptState, ExperimentState, View
from sparsemod.records import Label, TrialState, Value
from sparsemod.spec.experiment import ExperimentSpec


class Revision(View):
    """Where an experiment is: the counter of its last event, and its state."""

    experiment: int
    revision: int
    state: ExperimentState


class Points(View):
    """Trials as columns of equal length, ordered by index. `state`, `round` and `origin` are places in `states`, `rounds` and `origins`.

    `full`: these are all trials; else those that changed since the revision that was asked for, replacing earlier ones of the same index.
    `finished` is the event at which a trial finished: the order of completion. `values` holds what was measured, of a trial that is not over
    the costs known before training; `operators` (index -> names) only the trials that are morphs.
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


class SourceView(View):
    """A candidate source: the default of every setting, as a spec may hold it under `source`, and the titles of its rounds."""

    name: str
    description: str
    defaults: dict[str, Any]
    rounds: dict[str, str]


class Timeline(View):
    """Attempts as columns of equal length, in the order of their start; times in seconds since 1970, `ended` null while it runs.

    `worker` is a place in `workers` and `devices`; `now` is the server's time.
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
    """The answer is being computed; ask again in a moment."""

    computing: Literal[True] = True


class Importance(View):
    """How much each parameter matters to each metric: total Sobol' indices of a model of the completed trials.

    A total index is the share of the metric's variance over the search space that the parameter takes part in, alone or with others.
    `revision` is the experiment's when it was computed, `current` whether no trial has completed since; `accuracy` is the model's R² on
    trials that it was not fitted to. `unexplained` names the metrics whose model predicts those trials no better than their mean does (R² of
    at most 0): their indices mean nothing. Empty when there are too few trials, which `reason` says.
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
    """An operator as deployed. `parameters`: weights and biases; `bytes` their stored size; shapes are one sample's, without batch."""

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
    """What is alive while an operator runs: bytes, and the tensors."""

    operator: str
    bytes: int
    tensors: dict[str, int]


class TrialGraph(View):
    """A trial's network as it is deployed: batch norm folded, activations fused, filters that pruning removes left out."""

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
    """An option of a family or a dataset. `default` is null where it must be given."""

    name: str
    default: Any
    required: bool


class FamilyView(View):
    """A network family. `spaces`: dataset -> its parameters there, for datasets whose shape is known."""

    name: str
    description: str
    options: tuple[OptionView, ...]
    spaces: dict[str, tuple[dict[str, Any], ...]]


class DatasetView(View):
    """A dataset; shape and classes are null where only loading it would tell."""

    name: str
    description: str
    options: tuple[OptionView, ...]
    shape: tuple[int, ...] | None
    classes: int | None


class DeviceView(View):
    """A target device: bytes of flash and RAM, clock in Hz."""

    name: str
    title: str
    core: str
    clock: int
    flash: int
    ram: int


class MetricView(View):
    """A metric: unit of every stored value, and the units in which a limit may be written."""

    name: str
    title: str
    unit: str
    units: tuple[str, ...]
    objective: bool


class Catalogue(View):
    """What a spec may name on this server, and an example of one."""

    families: tuple[FamilyView, ...]
    datasets: tuple[DatasetView, ...]
    sources: tuple[SourceView, ...]
    devices: tuple[DeviceView, ...]
    metrics: tuple[MetricView, ...]
    aliases: dict[str, str]
    schema_: dict[str, Any] = Field(alias="schema", description="JSON schema of a spec.")
    defaults: dict[str, Any] = Field(description="A spec with everything that may be left out filled in.")


class Checked(View):
    """A spec that would be accepted: completed with its defaults, and as YAML."""

    spec: ExperimentSpec
    yaml: str
