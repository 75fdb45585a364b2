"""The parts of a spec that say how one network is trained, pruned and quantized."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparsemod.records import Value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class OptimizerSpec(_Part):
    """The optimizer, without the learning rate and the weight decay, which may be searched."""

    name: Literal["adam", "adamw", "sgd"] = Field("adam", description="Optimizer.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd; ignored by the others.")
    nesterov: bool = Field(False, description="Of sgd.")


class ScheduleSpec(_Part):
    """How the learning rate changes over the epochs of a trial."""

    name: Literal["constant", "cosine", "step", "exponential"] = Field(
        "cosine", description="Shape of the schedule."
    )
    warmup: int = Field(0, ge=0, description="Epochs of linear warm-up before it.")
    milestones: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        (0.5, 0.75), description="Of step: shares of the epochs after which the rate drops."
    )
    factor: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Of step: factor of each drop; of exponential: factor over the whole training.",
    )


class AugmentationSpec(_Part):
    """One augmentation of the training images and its options."""

    name: str = Field(description="shift, flip, cutout or noise.")
    options: dict[str, Value] = Field({}, description="Options of the augmentation.")


class TrainingSpec(_Part):
    """How a network is trained. learning_rate, weight_decay, batch_size and label_smoothing may be searched: name them in `space`."""

    learning_rate: float = Field(3e-3, gt=0, description="Initial learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay (decoupled for adamw).")
    batch_size: int = Field(128, ge=1, description="Samples in a step.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing.")
    optimizer: OptimizerSpec = Field(OptimizerSpec(), description="The optimizer.")
    schedule: ScheduleSpec = Field(ScheduleSpec(), description="The learning rate's schedule.")
    augmentation: tuple[AugmentationSpec, ...] = Field(
        (), description="Augmentations, applied in this order."
    )
    gradient_clip: float | None = Field(None, gt=0, description="Largest norm of the gradient.")
    early_stop: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Epochs without a better validation error before training ends."
    )


class PruningSpec(_Part):
    """How a network is pruned. `sparsity` may be searched: name it in `space`."""

    method: Literal["none", "magnitude", "filters"] = Field(
        "none",
        description="`magnitude`: global, unstructured; `filters`: L1 norm of filters, the network physically shrinks.",
    )
    sparsity: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of the weights (magnitude) or of each layer's filters (filters) that goes.",
    )
    schedule: Literal["one-shot", "cubic"] = Field(
        "cubic", description="All at once at `begin`, or gradually (cubic) from `begin` to `end`."
    )
    begin: float = Field(0.2, ge=0, lt=1, description="Share of the epochs after which pruning begins.")
    end: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Share of the epochs after which full sparsity is reached; the rest recovers.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "PruningSpec":
        if self.begin >= self.end:
            raise ValueError("begin must be before end")
        return self


class QuantizationSpec(_Part):
    """How a trained network becomes an integer network."""

    scheme: Literal["static", "none"] = Field(
        "static",
        description="`static`: int8 weights and activations; `none`: stays float (4 bytes a weight).",
    )
    calibration_samples: int = Field(
        256, ge=1, description="Training samples that calibrate the activations' ranges."
    )
    activation_ranges: Literal["min_max", "percentile", "mse"] = Field(
        "min_max",
        description="How an activation's range follows from those samples. `min_max`: all values; `percentile`: all but the outermost 0.01 % at each end; `mse`: the range of the smallest squared rounding error.",
    )
