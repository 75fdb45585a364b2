"""The measurement and target settings of a spec."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MeasureSpec(_Part):
    """Which definition of each cost is the objective. All definitions are recorded in any case."""

    model_size: Literal["deployed", "sparse", "nonzeros"] = Field(
        "deployed",
        description="`deployed`: bytes as stored densely; `sparse`: bitmap encoding per layer where smaller; `nonzeros`: count of nonzero weights, as in SpArSe.",
    )
    working_memory: Literal["arena", "peak", "peak_without_input", "sparse_model_1", "sparse_model_2"] = (
        Field(
            "arena",
            description="`arena`: the static memory that the generated C links; `peak`, `peak_without_input`: peak of live activations over the execution order, with or without the input buffer; or SpArSe's two models.",
        )
    )
    fusion: Literal["auto", "smallest", "off"] = Field(
        "auto",
        description="Layers that run together in C, some rows at a time, so that the maps between them never exist as a whole; no multiply-add is repeated. `auto`: where `ram` (or `working_memory`, as `arena`) is an objective, or a budget that is exceeded otherwise; `smallest`: for the smallest arena in any case; `off`: never.",
    )
    latency: Literal["operators", "macs"] = Field(
        "operators",
        description="`operators`: per-operator instruction model of the device's core; `macs`: MACs / operations_per_second.",
    )
    device: Literal["auto", "emulated", "model"] = Field(
        "auto",
        description="Finished networks on the device: `emulated`: compiled and run on the emulated core; `model`: the calibrated operator model; `auto`: emulated where its programs are installed, else the model.",
    )


class TargetSpec(_Part):
    """The device."""

    device: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        "stm32f446",
        description="A device profile (`sparsemod devices` lists them). Its flash and RAM are the budgets of `flash` and `ram` where none are given.",
    )
    power_mode: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="For the metric `energy`: a mode of the device's `power`; default: the first."
    )
    operations_per_second: float | None = Field(
        None, gt=0, description="For `measure.latency: macs`: multiply-adds per second, SpArSeMod's `flops`."
    )
