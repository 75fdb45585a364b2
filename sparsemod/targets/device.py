"""What a device profile and an operator model hold."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]


class OperatorModel(_Frozen):
    """Instructions of int8 kernels on one core, as a sum over operators; fitted to measured networks.

    The coefficients are instructions per multiply-add of a conv or linear, per multiply-add of a depthwise conv, per output element of
    these two and of add, concat and activations, per element that a pooling window reads, and per element that a conv larger than 1 x 1
    copies into its column buffer.
    """

    core: str = Field(min_length=1, description="The core it was fitted for.")
    mac: Positive = Field(description="Instructions per multiply-add of conv and linear.")
    depthwise_mac: Positive = Field(description="Instructions per multiply-add of a depthwise conv.")
    output: Positive = Field(description="Instructions per output element.")
    pooled: Positive = Field(description="Instructions per element read by a pooling window.")
    im2col: Positive = Field(description="Instructions per element copied into a column buffer.")
    error: Annotated[float, Field(ge=0)] = Field(
        description="Mean relative error of the instructions on the networks of the fit."
    )
    networks: Annotated[int, Field(ge=1)] = Field(description="Networks measured for the fit.")
    source: str = Field(min_length=1, description="How and where it was measured.")


class Device(_Frozen):
    """A microcontroller or board.

    `flash` and `ram` in bytes: flash as sold, ram as the largest contiguous region that an activation arena can use. `clock` in Hz, at
    its maximum. `cycles_per_instruction` is stated, not measured, until a board has calibrated it: milliseconds are estimates.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] = Field(
        description="The name that specs use."
    )
    title: str = Field(min_length=1, description="Manufacturer and product.")
    core: Annotated[str, Field(pattern=r"^cortex-m[0-9]+\+?$")] = Field(
        description="The core, for example cortex-m4."
    )
    clock: Annotated[int, Field(gt=0)] = Field(description="Clock in Hz.")
    flash: Annotated[int, Field(gt=0)] = Field(description="Bytes of flash.")
    ram: Annotated[int, Field(gt=0)] = Field(description="Bytes of the largest contiguous RAM.")
    cycles_per_instruction: Positive = Field(description="Clock cycles per instruction, as stated.")
    operator_model: str = Field(min_length=1, description="The core whose operator model is used.")
    source: str = Field(min_length=1, description="Where these facts come from.")
