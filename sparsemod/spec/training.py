"""The training settings of a spec."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparsemod.errors import InvalidInput
from sparsemod.spec.methods import (
    LOSSES,
    METRICS,
    OPTIMIZERS,
    RULES,
    SCHEDULES,
    Augmentation,
    Loss,
    Metric,
    Optimizer,
    Rule,
    Schedule,
)
from sparsemod.spec.teacher import TeacherSpec
from sparsemod.spec.training_presets import Preset

Precision = Literal["float32", "bfloat16", "float16"]
"""The arithmetic of forward and backward passes."""


class TrainingSpec(BaseModel):
    """How a network is trained. `space` may search learning_rate, weight_decay, batch_size and label_smoothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    preset: Preset | None = Field(
        None,
        description="A published schedule: learning rate, weight decay, batch size, optimizer, schedule, augmentation. Other keys given here take precedence.",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Initial learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay (decoupled for adamw).")
    scale_decay: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether the weight decay of compressed weights is scaled by the compression ratio of the network; auto: where it helps, so not for SepHashed.",
    )
    batch_size: int = Field(128, ge=1, description="Samples in a step.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Label smoothing, for losses that support it."
    )
    rule: Rule = Field(
        default_factory=lambda: RULES.config("bp"), description="How a batch's loss becomes gradients."
    )
    loss: Loss = Field(
        default_factory=lambda: LOSSES.config("cross_entropy"),
        description="What training minimizes. Default: the task's.",
    )
    metric: Metric = Field(
        default_factory=lambda: METRICS.config("error"),
        description="The metric of the task, which selects the epoch to keep and is the objective `error`. Default: the task's.",
    )
    optimizer: Optimizer = Field(
        default_factory=lambda: OPTIMIZERS.config("adam"), description="The optimizer."
    )
    schedule: Schedule = Field(
        default_factory=lambda: SCHEDULES.config("cosine"), description="The learning rate's schedule."
    )
    initial: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None,
        description="Weights from which trainings start: a .safetensors file with the names of the network's layers, or `FOLDER#TRIAL`, a trial in the folder of a local run. Default: random ones. Candidates with a parent start from the parent's weights.",
    )
    teacher: TeacherSpec | None = Field(None, description="A network from which the networks learn.")
    augmentation: tuple[Augmentation, ...] = Field((), description="Augmentations, applied in this order.")
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability of dropping a path of the network, which grows from 0 to this value over the epochs; for networks with paths, such as darts.",
    )
    auxiliary: float = Field(
        0.0,
        ge=0,
        description="Weight of the loss of the network's auxiliary head, which exists in training only; for networks with one, such as darts.",
    )
    precision: Precision = Field(
        "float32",
        description="Arithmetic of forward and backward passes: `bfloat16` and `float16` are automatic mixed precision. Weights, losses, validation and quantization use float32. Only with the rule bp.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that divide each batch and average their gradients, each on a GPU of its own, or on the CPU. Only with the rule bp.",
    )
    gradient_clip: float | None = Field(None, gt=0, description="Largest norm of the gradient.")
    early_stop: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Epochs without a better validation error before training ends."
    )

    minimum_accuracy: tuple[
        tuple[Annotated[int, Field(ge=1)], Annotated[float, Field(ge=0, le=100)]], ...
    ] = Field(
        (),
        description="Pairs of an epoch and a validation accuracy in percent: training ends after an epoch that stays below it, as [[10, 30]].",
    )

    @model_validator(mode="after")
    def _loss_smooths(self) -> "TrainingSpec":
        if self.label_smoothing and self.loss.known and not self.loss.smooths:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing}, which the loss {self.loss.name} does not support"
            )
        return self

    @model_validator(mode="after")
    def _backpropagates(self) -> "TrainingSpec":
        if self.rule.name != "bp":
            for name, usual in (("precision", "float32"), ("processes", 1)):
                if getattr(self, name) != usual:
                    raise ValueError(
                        f"{name} is {getattr(self, name)}, which the rule {self.rule.name} does not support; {usual} or the rule bp"
                    )
        if self.processes > 1 and self.auxiliary:
            raise ValueError(
                f"processes is {self.processes}: an auxiliary head (auxiliary is {self.auxiliary:g}) trains in 1 process"
            )
        if self.batch_size < self.processes:
            raise ValueError(f"batch_size is {self.batch_size}, less than the {self.processes} processes")
        return self

    def check_rule(self, name: str, layer_by_layer: bool) -> None:
        """Raise InvalidInput for a part that needs backpropagation, with the rule `name` that trains layer by layer."""
        if not layer_by_layer:
            return
        if self.teacher is not None and self.teacher.beta:
            allowed = f"0 with the rule {name}: attention transfer needs backpropagation"
            raise InvalidInput("training.teacher.beta", self.teacher.beta, allowed)
        if self.auxiliary:
            allowed = f"0 with the rule {name}: an auxiliary head needs backpropagation"
            raise InvalidInput("training.auxiliary", self.auxiliary, allowed)
