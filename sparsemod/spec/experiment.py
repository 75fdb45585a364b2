"""An experiment's specification: validated, versioned, unknown keys rejected.

`ExperimentSpec.parse(mapping)` converts foreign data to a spec. For an error it raises InvalidSpec with
field, value and the allowed values. `sparsemod.spec.files` reads files (YAML, INI). Values with units ("64
KB", "10 ms") are stored as floats in the metric's unit.
"""

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.plugins import NAMES, Names, OneOf
from sparsemod.sources.base import SOURCES, SourceConfig
from sparsemod.space.parameters import Constraint, Parameter
from sparsemod.spec.device_budgets import device_budgets
from sparsemod.spec.measure import MeasureSpec, TargetSpec
from sparsemod.spec.methods import (
    PRUNING,
    SCHEMES,
    TASKS,
    Pruning,
    Quantization,
    Stopping,
    Task,
    check_known,
)
from sparsemod.spec.parts import DatasetSpec, LimitsSpec, NetworkSpec, Part
from sparsemod.spec.pipeline_choice import default_pipeline, pipeline_from
from sparsemod.spec.pipeline_parameters import (
    FINETUNE_EPOCHS,
    MAX_LEN,
    METHOD,
    PIPELINE_PARAMETERS,
    check_pipeline,
    check_sparsities,
    check_training,
)
from sparsemod.spec.scales import ScaleSpec, resolved, scales_from, upgraded
from sparsemod.spec.source_choice import DEFAULT, current, source_from
from sparsemod.spec.stopping_choice import check_stopping
from sparsemod.spec.task_choice import check_task, with_task
from sparsemod.spec.training import TrainingSpec
from sparsemod.spec.training_presets import with_preset
from sparsemod.spec.translation import NAME_PATTERN, parameter_from, plain_json, translate
from sparsemod.stages.base import STAGES, Stage
from sparsemod.units import CHOICES, LINKED, METRICS, OBJECTIVES, TRAINED, metric, parse_limit

if TYPE_CHECKING:
    from sparsemod.objectives import Objectives


MOST_NAME_BYTES = 200
"""Limit for an experiment's name, which is also the name of a folder."""

_DEFAULT_REFERENCE = {
    "model_size": 512.0 * 1024,
    "working_memory": 128.0 * 1024,
    "latency": 1000.0,
    "energy": 100.0,
    "training_memory": 64.0 * 1024 * 1024,
}


def _default_source() -> SourceConfig:
    return source_from({"name": DEFAULT})


class ExperimentSpec(Part):
    """Everything that determines an experiment.

    Equal specs on the same data give equal trials on the CPU in a local run, and in the service with
    `source.in_step`. Without it, the service suggests candidates while other trials are running, and the
    number of those depends on the workers.
    """

    version: Literal[2] = Field(2, description="Version of this format. Version 1 is read as linear scales.")
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=NAME_PATTERN)] = Field(
        "experiment",
        description="Title of the experiment and name of its results folder: letters of any alphabet, digits, spaces and . _ -.",
    )
    dataset: DatasetSpec = Field(description="The data.")
    task: Task = Field(
        default_factory=lambda: TASKS.config("classification"),
        description="What networks learn: what the targets are, which losses and metrics are allowed, and what the C code returns.",
    )
    network: NetworkSpec = Field(description="The network family.")
    space: dict[str, Parameter] = Field(
        {},
        description="Parameters of the family to narrow or fix, and pipeline parameters to search: name -> parameter, list of values, or constant.",
    )
    constraints: tuple[Constraint, ...] = Field(
        (), description="Linear constraints between numeric parameters."
    )
    source: Annotated[SourceConfig, OneOf(SOURCES, lambda given, _: source_from(given), named=False)] = Field(
        default_factory=_default_source,
        description="Where candidates come from: the settings of a source, chosen by its `name`.",
    )
    pipeline: tuple[Annotated[Stage, OneOf(STAGES, lambda stage, _: stage)], ...] = Field(
        default_factory=default_pipeline,
        description="Stages that evaluate a candidate, in order: names, or mappings with `name` and settings.",
    )
    objectives: tuple[str, ...] = Field(
        OBJECTIVES, description=f"One to four of {', '.join(CHOICES)}; all minimized."
    )
    budgets: dict[str, float] = Field(
        {},
        description=f'Upper limits: a list of "flash <= 64 KB", or metric -> value. Metrics: {", ".join(METRICS)}.',
    )
    reference_point: dict[str, float] = Field(
        {},
        description="Corner of the hypervolume box. Default: the budget where there is one, else error 1, 512 KB, 128 KB, 1 s.",
    )
    scales: dict[str, ScaleSpec] = Field(
        {},
        description="How each objective is compared, up to its reference value: metric -> `log`, `linear`, or a mapping with `kind`, `low` and `offset`. Default: the error `linear`, every cost `log` over three decades.",
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec, description="How networks are trained.")
    stopping: Stopping | None = Field(
        None,
        description="A rule that ends trainings which can no longer reach the front at their costs. Default: none.",
    )
    pruning: Pruning = Field(
        default_factory=lambda: PRUNING.config("none"), description="How networks are pruned."
    )
    quantization: Quantization = Field(
        default_factory=lambda: SCHEMES.config("static"), description="How networks are quantized."
    )
    measure: MeasureSpec = Field(MeasureSpec(), description="Which definition of each cost counts.")
    target: TargetSpec = Field(TargetSpec(), description="The device.")
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Seed of the search and of every trial (each trial's own seed is derived from it).",
    )
    limits: LimitsSpec = Field(LimitsSpec(), description="Limits of an attempt.")

    @classmethod
    def parse(cls, data: Any, source: str | None = None, names: Names = Names.KNOWN) -> "ExperimentSpec":
        """Return a spec from plain data (as read from JSON or YAML). `names` says which methods it may name.

        Earlier specs with `rounds` and `search` at the top level mean the source `search`; version 1 means
        linear scales.

        Raises InvalidSpec for the first error; its message names `source`.
        """
        if not isinstance(data, Mapping):
            raise InvalidSpec("spec", data, "a mapping of keys to values", source)
        try:
            return cls.model_validate_json(
                plain_json(with_task(with_preset(upgraded(current(data))), names), source),
                context={NAMES: names},
            )
        except ValidationError as error:
            raise translate(error, cls, source) from None
        except InvalidInput as error:
            raise InvalidSpec(error.field, error.value, error.allowed, source) from None

    @classmethod
    def stored(cls, data: Any) -> "ExperimentSpec":
        """Return a spec that was checked before, perhaps by another process.

        Methods unknown in this process are kept unchanged; `Problem.of` rejects them. Raises InvalidSpec.
        """
        return cls.parse(data, names=Names.ANY)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `parse` reads back to an equal spec."""
        return self.model_dump(mode="json")

    @field_validator("pipeline", mode="before")
    @classmethod
    def _pipeline(cls, value: Any) -> Any:
        return pipeline_from(value)

    @field_validator("name", mode="before")
    @classmethod
    def _normalized_name(cls, value: Any) -> Any:
        """Normalize the name to Unicode NFC and check that file systems accept its length."""
        if not isinstance(value, str):
            return value
        composed = unicodedata.normalize("NFC", value)
        size = len(composed.encode(errors="replace"))
        if size > MOST_NAME_BYTES:
            raise InvalidInput("name", value, f"at most {MOST_NAME_BYTES} bytes in UTF-8; it has {size}")
        return composed

    @field_validator("space", mode="before")
    @classmethod
    def _space(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise InvalidInput("space", value, "a mapping of parameter names to parameters")
        return {name: parameter_from(name, parameter) for name, parameter in value.items()}

    @field_validator("objectives", mode="before")
    @classmethod
    def _objectives(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= 4:
            raise InvalidInput("objectives", value, f"a list of one to four of {', '.join(CHOICES)}")
        names = []
        for place, name in enumerate(value):
            metric_name = metric(str(name), f"objectives.{place}").name
            if metric_name not in CHOICES or metric_name in names:
                raise InvalidInput(f"objectives.{place}", name, f"each of {', '.join(CHOICES)} at most once")
            names.append(metric_name)
        return tuple(names)

    @field_validator("budgets", mode="before")
    @classmethod
    def _budgets(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        limits: dict[str, float] = {}
        if isinstance(value, list | tuple):
            pairs = [
                parse_limit(text, f"budgets.{i}") if isinstance(text, str) else _reject(f"budgets.{i}", text)
                for i, text in enumerate(value)
            ]
        elif isinstance(value, Mapping):
            pairs = [
                (metric(n, "budgets").name, metric(n, "budgets").parse(limit_value, f"budgets.{n}"))
                for n, limit_value in value.items()
            ]
        else:
            raise InvalidInput(
                "budgets", value, 'a list such as ["flash <= 64 KB"], or a mapping of metric to value'
            )
        for name, limit in pairs:
            if name in limits:
                raise InvalidInput(f"budgets.{name}", value, "each metric once")
            if METRICS[name].unit == "fraction" and limit > 1:
                raise InvalidInput(f"budgets.{name}", limit, "a share of at most 1, such as 0.05 or 5 %")
            limits[name] = limit
        return limits

    @field_validator("reference_point", mode="before")
    @classmethod
    def _reference(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise InvalidInput("reference_point", value, "a mapping of metric to value")
        reference = {
            metric(name, "reference_point").name: metric(name, "reference_point").parse(
                v, f"reference_point.{name}"
            )
            for name, v in value.items()
        }
        if len(reference) != len(value):
            raise InvalidInput(
                "reference_point", value, "each metric once (size is model_size, memory is working_memory)"
            )
        return reference

    @field_validator("scales", mode="before")
    @classmethod
    def _scales(cls, value: Any) -> Any:
        return scales_from(value)

    @model_validator(mode="after")
    def _consistent(self) -> "ExperimentSpec":
        check_task(
            self.task,
            self.training.loss,
            self.training.metric,
            {"objectives": self.objectives, "budgets": self.budgets},
        )
        if self.dataset.splitter is not None and self.task.known and not self.task.votes:
            allowed = f"left out: the task {self.task.name} has no votes of windows"
            raise InvalidInput("dataset.splitter", self.dataset.splitter.max_len, allowed)
        for part, given in (("reference_point", self.reference_point), ("scales", self.scales)):
            for name, value in given.items():
                if name not in self.objectives:
                    shown = value.kind if isinstance(value, ScaleSpec) else value
                    raise InvalidInput(
                        f"{part}.{name}", shown, f"only objectives: {', '.join(self.objectives)}"
                    )
        if "training_memory" in (*self.objectives, *self.budgets):
            for key, usual in (("precision", "float32"), ("processes", 1)):
                given = getattr(self.training, key)
                if given != usual:
                    allowed = f"{usual} with the metric training_memory: its prediction is of one process in float32"
                    raise InvalidInput(f"training.{key}", given, allowed)
        if self.measure.latency == "macs" and self.target.operations_per_second is None:
            allowed = "needed by measure.latency = macs: multiply-adds per second"
            raise InvalidInput("target.operations_per_second", None, allowed)
        if not self.quantization.integer:
            for name in LINKED:
                alternative = "model_size" if name == "flash" else "working_memory"
                allowed = f"{alternative}: the linked size is not predicted before training (quantization.scheme is {self.quantization.scheme})"
                if name in self.budgets:
                    raise InvalidInput(f"budgets.{name}", self.budgets[name], allowed)
                if name in self.objectives:
                    raise InvalidInput("objectives", name, allowed)
        searched = self.searched()
        if self.source.prunes_to_sparsities and METHOD in searched:
            check_sparsities(searched[METHOD], self.source.field(METHOD), self.source.rewinding)
        for name, parameter in sorted(searched.items(), key=lambda item: item[0] != METHOD):
            if name in PIPELINE_PARAMETERS:
                field = f"space.{name}" if name in self.space else self.source.field(name)
                check_pipeline(
                    parameter, self.training, self.pruning, field, searched.get(METHOD), self.dataset.splitter
                )
        if FINETUNE_EPOCHS in searched and not any(stage.name == "finetune" for stage in self.pipeline):
            raise InvalidInput(
                f"space.{FINETUNE_EPOCHS}", "searched", "needs the stage finetune in the pipeline"
            )
        splitter = self.dataset.splitter
        own = ":" in self.network.family  # it may have the parameter: `Problem` checks it
        if splitter is not None and splitter.max_len is None and MAX_LEN not in searched and not own:
            allowed = "a number of steps, or the parameter max_len in the space"
            raise InvalidInput("dataset.splitter.max_len", None, allowed)
        for field, changes in self.source.training_changes().items():
            check_training(self.training, changes, field)
        check_stopping(self.stopping, self.source, self.quality, (*self.objectives, *self.budgets))
        return self

    def searched(self) -> dict[str, Parameter]:
        """Return `space` and the pipeline parameters that the source itself varies."""
        varied = self.source.parameters()
        return {name: varied[name] for name in PIPELINE_PARAMETERS if name in varied} | self.space

    @property
    def quality(self) -> str:
        """The metric of the task, which is measured after training: `error` for classification."""
        return self.training.metric.key

    def check_methods(self) -> None:
        """Raise UnknownName for a method that is not registered in this process."""
        check_known(self)

    def reference(self) -> dict[str, float]:
        """Return the reference value of every objective.

        It is the given value, else the objective's budget, else the budget of the memory that it is part
        of, else a default of this format's version.
        """
        limits = self.all_budgets()
        if self.measure.model_size != "nonzeros" and "flash" in limits:
            limits.setdefault("model_size", limits["flash"])
        if self.measure.working_memory.startswith(("arena", "peak")) and "ram" in limits:
            limits.setdefault("working_memory", limits["ram"])
        default = _DEFAULT_REFERENCE | {n: 1.0 for n in TRAINED if METRICS[n].bounded} | limits
        for name in self.objectives:
            if name not in self.reference_point and name not in default:
                allowed = f"the largest value that interests you, here or as budgets.{name}: {METRICS[name].title} has no upper limit"
                if METRICS[name].unit == "target":
                    allowed += ". A network that ignores the sample reaches about the standard deviation of the targets"
                raise InvalidInput(f"reference_point.{name}", None, allowed)
        return {
            n: self.reference_point[n] if n in self.reference_point else default[n] for n in self.objectives
        }

    def objectives_in_force(self) -> "Objectives":
        """Return the objectives with their scales, the reference point and all budgets.

        Raises the errors of `all_budgets`, InvalidInput for a scale that does not begin below its reference value.
        """
        from sparsemod.objectives import Objectives

        reference = self.reference()
        return Objectives(self.objectives, reference, self.all_budgets(), resolved(self.scales, reference))

    def all_budgets(self) -> dict[str, float]:
        """Return `budgets` and the budgets that follow from the device.

        The device's flash and RAM limit `flash` and `ram` where the spec has no budget. Where the linked
        size is unknown (a float network, a core without a calibrated model), they limit model size and
        working memory instead, if those are counted in bytes.

        Raises UnknownName for a device unknown in this process, InvalidInput for a budget or an objective
        that cannot be computed for the device.
        """
        return device_budgets(self)


def _reject(field: str, value: Any) -> tuple[str, float]:
    raise InvalidInput(field, value, "text such as 'flash <= 64 KB'")
