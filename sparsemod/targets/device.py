"""The content of a device profile."""

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sparsemod.errors import InvalidInput, UnknownName


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]


class PowerMode(_Frozen):
    """The power of a device that executes instructions in one of its modes."""

    milliwatts: Positive = Field(description="Power while the core executes instructions, in mW.")
    clock: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Clock in Hz in this mode, if it is not the device's."
    )
    source: str = Field(
        min_length=1, description="Where the power comes from: a data sheet's table, or a measurement."
    )


class BoardCalibration(_Frozen):
    """How the cycles of a profile were fitted on a board, and the errors of whole networks that the fit did not use.

    `error` and `worst`: relative errors (0.03: 3 %) with cycles per kernel; `single_error`: the mean error with one number for all
    kernels. `tau`: Kendall's rank correlation."""

    networks: Annotated[int, Field(ge=1)] = Field(description="Number of networks in the fit.")
    held_out: Annotated[int, Field(ge=2)] = Field(description="Number of held-out networks for the errors.")
    error: Annotated[float, Field(ge=0)]
    worst: Annotated[float, Field(ge=0)]
    single_error: Annotated[float, Field(ge=0)]
    tau: Annotated[float, Field(ge=-1, le=1)]
    board: str = Field(min_length=1, description="The board and its counter.")
    unit: str = Field(
        min_length=1, description="What the counter counts: cycles, or instructions of an emulated machine."
    )
    date: str
    command: str


class Device(_Frozen):
    """A microcontroller or board.

    `flash` and `ram` in bytes: the nominal flash size, and the largest contiguous RAM region for an
    activation arena. `clock`: the maximum clock in Hz. `cycles_per_instruction` is a stated value unless it
    was calibrated on a board, so milliseconds are estimates.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] = Field(description="The name in specs.")
    title: str = Field(min_length=1, description="Manufacturer and product.")
    core: Annotated[str, Field(pattern=r"^(cortex-m[0-9]+\+?|rv32[a-z]+)$")] = Field(
        description="The core, for example cortex-m4 or rv32imc."
    )
    clock: Annotated[int, Field(gt=0)] = Field(description="Clock in Hz.")
    flash: Annotated[int, Field(gt=0)] = Field(description="Bytes of flash.")
    ram: Annotated[int, Field(gt=0)] = Field(description="Bytes of the largest contiguous RAM.")
    cycles_per_instruction: Positive = Field(description="Clock cycles per instruction, as stated.")
    cycles: dict[str, Positive] = Field(
        default_factory=dict,
        description="Kernel of the operator model -> its cycles per instruction, as calibrated on a board.",
    )
    calibration: BoardCalibration | None = Field(
        None,
        description="How `cycles` and `cycles_per_instruction` were fitted; absent when they are stated.",
    )
    operator_model: str | None = Field(
        None, description="Core of the calibrated model to use, if the device's core has none."
    )
    power: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], PowerMode] = Field(
        default_factory=dict,
        description="Mode -> its power. The first one is the default of `target.power_mode`.",
    )
    source: str = Field(min_length=1, description="Where these facts come from.")

    @property
    def model(self) -> str:
        """The core of the calibrated model to use."""
        return self.operator_model or self.core

    def excess(self, flash: float, ram: float) -> dict[str, int]:
        """Return memory region -> bytes over its size, for these needs in bytes; empty if they fit."""
        regions = (("flash", flash, self.flash), ("RAM", ram, self.ram))
        return {region: math.ceil(need - size) for region, need, size in regions if need > size}

    @property
    def cycles_method(self) -> str:
        """Where the cycles per instruction come from, as one phrase."""
        found = self.calibration
        if found is None:
            return f"{self.cycles_per_instruction:g} cycles per instruction as stated"
        return (
            f"{self.cycles_per_instruction:g} cycles per instruction, by kernel, calibrated in {found.unit} on {found.board}, "
            f"mean error {found.error:.1%}"
        )

    def weighted(self, layers: Mapping[str, float], kernels: Mapping[str, str]) -> float:
        """Return the instructions of all layers, each times its kernel's cycles per instruction over the device's.

        `layers`: layer -> instructions; `kernels`: layer -> kernel. Without calibrated `cycles` it is the sum."""
        mean = self.cycles_per_instruction
        return sum(
            count * (self.cycles.get(kernels.get(layer, ""), mean) / mean) for layer, count in layers.items()
        )

    def milliseconds(self, instructions: float) -> float:
        """Estimate the time: instructions x stated cycles per instruction / clock."""
        return instructions * self.cycles_per_instruction / self.clock * 1000.0

    def mode(self, name: str | None = None, field: str = "target.power_mode") -> tuple[str, PowerMode]:
        """Return the name and the power of a mode, by default the first. Raises UnknownName, which names `field`; InvalidInput when the
        profile states no power."""
        if not self.power:
            raise InvalidInput(field, name, f"left out: the profile of {self.name} states no power")
        chosen = next(iter(self.power)) if name is None else name
        if chosen not in self.power:
            raise UnknownName(field, chosen, tuple(self.power))
        return chosen, self.power[chosen]

    def millijoules(self, instructions: float, mode: PowerMode) -> float:
        """Estimate the energy: instructions x stated cycles per instruction / clock of the mode x its power."""
        return instructions * self.cycles_per_instruction / (mode.clock or self.clock) * mode.milliwatts
