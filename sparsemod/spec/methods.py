"""The families of methods that a spec chooses from, and the base of each family's configs.

Members are found by name: those of this package by their decorator in the folders named here, others by entry point,
and in local commands as `module:attribute`. `sparsemod.pruning`, `sparsemod.training` and
`sparsemod.quantization` describe their handlers.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from sparsemod.plugins import OneOf, PluginConfig, Plugins

Targets = Literal["classes", "labels", "values", "normal", "pixels"]
"""What a sample's target is: `classes`, one class; `labels`, which of several labels hold; `values`, numbers; `normal`, whether the
sample is normal (0) or anomalous (1); `pixels`, a class for each position of a grid."""


class TaskConfig(PluginConfig):
    """Base of the tasks' configs."""

    targets: ClassVar[Targets] = "classes"
    """What the targets of the task are. Its losses and metrics have the same targets."""
    loss: ClassVar[str] = "cross_entropy"
    """The loss of a spec that names none."""
    metric: ClassVar[str] = "error"
    """The metric of a spec that names none."""
    votes: ClassVar[bool] = False
    """Whether the windows of a sequence vote for its class."""

    name: str = Field(description="Name of the task.")


class PruningConfig(PluginConfig):
    """Base of the pruning methods' configs. A method whose config has the key `sparsity` can have it searched."""

    replaces_layers: ClassVar[bool] = False
    """Whether the method replaces layers by others, so that the network's weights have other names and shapes."""

    method: str = Field(description="Name of the method.")


class PruningScheduleConfig(PluginConfig):
    """Base of the pruning schedules' configs."""

    name: str = Field(description="Name of the schedule.")


class RuleConfig(PluginConfig):
    """Base of the training rules' configs."""

    name: str = Field(description="Name of the training rule.")


class OptimizerConfig(PluginConfig):
    """Base of the optimizers' configs. Learning rate and weight decay are keys of `training`: they may be searched."""

    name: str = Field(description="Name of the optimizer.")


class ScheduleConfig(PluginConfig):
    """Base of the learning-rate schedules' configs."""

    name: str = Field(description="Name of the schedule.")
    warmup: int = Field(0, ge=0, description="Epochs of linear warm-up before it.")


class FrontEndConfig(PluginConfig):
    """Base of the front ends' configs."""

    name: str = Field(description="Name of the front end.")


class AugmentationConfig(PluginConfig):
    """Base of the augmentations' configs."""

    name: str = Field(description="Name of the augmentation.")

    @classmethod
    def upgraded(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        """Return `data` with the keys of `options`, which configs without a version may use, moved up."""
        options = data.get("options", {}) if not version else {}
        if not isinstance(options, dict):
            return data
        return {**{key: value for key, value in data.items() if version or key != "options"}, **options}


class StoppingConfig(PluginConfig):
    """Base of the configs of stopping rules."""

    name: str = Field(description="Name of the rule.")


class LossConfig(PluginConfig):
    """Base of the losses' configs."""

    targets: ClassVar[Targets] = "classes"
    """The targets of the tasks that it is for."""
    also: ClassVar[tuple[Targets, ...]] = ()
    """Other targets for which it serves too."""

    smooths: ClassVar[bool] = False
    """Whether the loss uses `training.label_smoothing`."""

    name: str = Field(description="Name of the loss.")


class MetricConfig(PluginConfig):
    """Base of the metrics' configs."""

    targets: ClassVar[Targets] = "classes"
    """The targets of the tasks that it is for."""
    key: ClassVar[str] = "error"
    """The name under which it is measured, a metric of `sparsemod.units` that is `trained`. A fraction of the samples is an
    `error`; `metric` is for values without an upper limit."""

    name: str = Field(description="Name of the metric.")


@dataclass(frozen=True)
class Storage:
    """How a scheme stores a network; size and memory are counted from it.

    `weight_bytes`: bytes of one weight; `channel_bytes`: bytes of one output channel's constants;
    `activation_bytes`: bytes of one activation; `name`: the number format; `description`: the layout, for
    measurements. `quantizes_inputs`: layers with weights quantize their inputs when they run, in scratch memory.
    """

    name: str
    weight_bytes: int
    channel_bytes: int
    activation_bytes: int
    description: str
    quantizes_inputs: bool = False


INT8 = Storage("int8", 1, 9, 1, "int8 weights with int32 bias, int32 multiplier and int8 shift per channel")
FLOAT32 = Storage("float32", 4, 4, 4, "float32 weights with float32 bias per channel")


class QuantizationConfig(PluginConfig):
    """Base of the quantization schemes' configs."""

    storage: ClassVar[Storage] = INT8
    integer: ClassVar[bool] = True
    """Whether the result is an IntegerNetwork, whose flash and RAM are predicted before training."""
    exported: ClassVar[bool] = True
    """Whether an export format can write the result."""

    scheme: str = Field(description="Name of the scheme.")
    calibration_samples: int = Field(
        256, ge=1, description="Training samples that calibrate the activations' ranges."
    )


class RangeConfig(PluginConfig):
    """Base of the configs of activation ranges."""

    name: str = Field(description="Name of the rule.")


PRUNING: Plugins[Any, PruningConfig] = Plugins(
    "pruning method",
    "sparsemod.pruners",
    "pruning",
    PruningConfig,
    (
        "sparsemod.pruning @METHODS",
        "sparsemod.pruning.filters @METHODS",
        "sparsemod.pruning.low_rank @METHODS",
        "sparsemod.pruning.weights @METHODS",
        "sparsemod.pruning.torchprune",
    ),
    default="none",
    key="method",
)
PRUNING_SCHEDULES: Plugins[Any, PruningScheduleConfig] = Plugins(
    "pruning schedule",
    "sparsemod.pruning_schedules",
    "pruning.schedule",
    PruningScheduleConfig,
    ("sparsemod.pruning @SCHEDULES",),
    default="cubic",
)
RULES: Plugins[Any, RuleConfig] = Plugins(
    "training rule",
    "sparsemod.rules",
    "training.rule",
    RuleConfig,
    ("sparsemod.training.rules @RULES",),
    default="bp",
)
OPTIMIZERS: Plugins[Any, OptimizerConfig] = Plugins(
    "optimizer",
    "sparsemod.optimizers",
    "training.optimizer",
    OptimizerConfig,
    ("sparsemod.training @OPTIMIZERS",),
    default="adam",
)
SCHEDULES: Plugins[Any, ScheduleConfig] = Plugins(
    "learning-rate schedule",
    "sparsemod.schedules",
    "training.schedule",
    ScheduleConfig,
    ("sparsemod.training @SCHEDULES",),
    default="cosine",
)
AUGMENTATIONS: Plugins[Any, AugmentationConfig] = Plugins(
    "augmentation",
    "sparsemod.augmentations",
    "training.augmentation",
    AugmentationConfig,
    ("sparsemod.training.augmentation @AUGMENTATIONS",),
)
TASKS: Plugins[Any, TaskConfig] = Plugins(
    "task",
    "sparsemod.tasks",
    "task",
    TaskConfig,
    ("sparsemod.training.tasks @TASKS",),
    default="classification",
)
LOSSES: Plugins[Any, LossConfig] = Plugins(
    "loss",
    "sparsemod.losses",
    "training.loss",
    LossConfig,
    ("sparsemod.training @LOSSES",),
    default="cross_entropy",
)
METRICS: Plugins[Any, MetricConfig] = Plugins(
    "metric",
    "sparsemod.metrics",
    "training.metric",
    MetricConfig,
    ("sparsemod.training @METRICS",),
    default="error",
)
SCHEMES: Plugins[Any, QuantizationConfig] = Plugins(
    "quantization scheme",
    "sparsemod.schemes",
    "quantization",
    QuantizationConfig,
    ("sparsemod.quantization @SCHEMES",),
    default="static",
    key="scheme",
)
RANGES: Plugins[Any, RangeConfig] = Plugins(
    "rule of activation ranges",
    "sparsemod.range_rules",
    "quantization.activation_ranges",
    RangeConfig,
    ("sparsemod.quantization @RANGES",),
    default="min_max",
)
FRONT_ENDS: Plugins[Any, FrontEndConfig] = Plugins(
    "front end",
    "sparsemod.front_ends",
    "network.front_end",
    FrontEndConfig,
    ("sparsemod.networks.front_ends @FRONT_ENDS",),
)

STOPPING: Plugins[Any, StoppingConfig] = Plugins(
    "stopping rule",
    "sparsemod.stopping_rules",
    "stopping",
    StoppingConfig,
    ("sparsemod.stopping @STOPPING",),
)

FAMILIES: dict[str, Plugins[Any, Any]] = {
    family.path: family
    for family in (
        TASKS, RULES, OPTIMIZERS, SCHEDULES, AUGMENTATIONS, LOSSES, METRICS, PRUNING, PRUNING_SCHEDULES, SCHEMES, RANGES, FRONT_ENDS,
        STOPPING,
    )
}  # fmt: skip
"""Every family, by its key in a spec."""

FrontEnd = Annotated[FrontEndConfig, OneOf(FRONT_ENDS)]
Task = Annotated[TaskConfig, OneOf(TASKS)]
Pruning = Annotated[PruningConfig, OneOf(PRUNING)]
PruningSchedule = Annotated[PruningScheduleConfig, OneOf(PRUNING_SCHEDULES)]
Rule = Annotated[RuleConfig, OneOf(RULES)]
Optimizer = Annotated[OptimizerConfig, OneOf(OPTIMIZERS)]
Schedule = Annotated[ScheduleConfig, OneOf(SCHEDULES)]
Augmentation = Annotated[AugmentationConfig, OneOf(AUGMENTATIONS)]
Loss = Annotated[LossConfig, OneOf(LOSSES)]
Metric = Annotated[MetricConfig, OneOf(METRICS)]
Quantization = Annotated[QuantizationConfig, OneOf(SCHEMES)]
Ranges = Annotated[RangeConfig, OneOf(RANGES)]
Stopping = Annotated[StoppingConfig, OneOf(STOPPING)]


def check_known(part: BaseModel) -> None:
    """Raise UnknownName for the first config in `part`, nested ones included, whose member is unknown here."""
    for name in type(part).model_fields:
        value = getattr(part, name)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, PluginConfig) and not inner.known:
                family = next(f for f in FAMILIES.values() if isinstance(inner, f.base))
                family.get(getattr(inner, family.key), field=f"{family.path}.{family.key}")
            if isinstance(inner, BaseModel):
                check_known(inner)
