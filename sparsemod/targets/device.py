"""What a device profile holds."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]


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
    operator_model: str | None = Field(
        None, description="The core whose calibrated model is used, where there is none for the device's own."
    )
    source: str = Field(min_length=1, description="Where these facts come from.")

    @property
    def model(self) -> str:
        """The core whose calibrated model is used."""
        return self.operator_model or self.core

    def milliseconds(self, instructions: float) -> float:
        """An estimate: instructions x stated cycles per instruction / clock."""
        return instructions * self.cycles_per_instruction / self.clock * 1000.0
