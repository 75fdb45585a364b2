"""The devices that a network fits: its C code, linked for each core, compared with each device's flash and RAM.

The needs are measured on the emulated device when the tools are installed. Without them only the C project's constants and arena are
known; these are less than the actual needs, as `method` states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.errors import DoesNotFit
from sparsemod.records import Record
from sparsemod.targets import Device, device, device_names

if TYPE_CHECKING:
    from sparsemod.export.c.networks import CNetwork


class Need(Record):
    """Bytes of flash and RAM of one network on one core, and the instructions of one inference, when measured.

    `kernels`: layer -> the C kernel that it runs, on a core with generated kernels."""

    core: str
    flash: int
    ram: int
    instructions: int | None = None
    per_layer: dict[str, int] = Field(default_factory=dict)
    kernels: dict[str, str] = Field(default_factory=dict)
    method: str
    measured: bool


@dataclass(frozen=True)
class Fit:
    """A network on a device. `over`: region -> bytes that exceed it, empty when the network fits; `milliseconds` is an estimate."""

    device: Device
    need: Need
    over: dict[str, int]
    milliseconds: float | None

    @property
    def fits(self) -> bool:
        """Whether flash and RAM suffice."""
        return not self.over


def need(network: "CNetwork", core: str) -> Need:
    """Return the needs of the network's C code on `core`. Raises Unsupported for a layer without a C kernel."""
    from sparsemod.emulator import Emulator, available
    from sparsemod.export.c.networks import generate_any, kernel_choices

    missing = available(core)
    if missing is not None:
        c_project = generate_any(network, core=core)
        method = f"weights and arena of the C code; code and stack come on top ({missing})"
        return Need(
            core=core, flash=c_project.data_bytes, ram=c_project.arena.size, method=method, measured=False
        )
    try:
        emulation = Emulator(core).costs(network)
    except DoesNotFit as error:
        c_project = generate_any(network, core=core)
        method = f"weights and arena of the C code; code and stack come on top (more than the emulated machine holds: {error})"
        return Need(
            core=core, flash=c_project.data_bytes, ram=c_project.arena.size, method=method, measured=False
        )
    return Need(
        core=core,
        flash=emulation.flash,
        ram=emulation.ram,
        instructions=emulation.instructions,
        per_layer=dict(emulation.per_layer),
        kernels=kernel_choices(network, core),
        method=f"{emulation.method})"
        if emulation.method.count("(") > emulation.method.count(")")
        else emulation.method,
        measured=True,
    )


def fits(network: "CNetwork", devices: Sequence[Device] | None = None) -> tuple[Fit, ...]:
    """Return the fit of the network on each device (default: all known devices), compiled once per core."""
    targets = [device(name) for name in device_names()] if devices is None else list(devices)
    needs = {core: need(network, core) for core in sorted({target.core for target in targets})}
    return tuple(fit(needs[target.core], target) for target in targets)


def fit(need: Need, device: Device) -> Fit:
    """Return the fit of a known need on a device."""
    time = None if need.instructions is None else device.milliseconds(need.instructions)
    return Fit(device, need, device.excess(need.flash, need.ram), time)


def check_fit(fit: Fit) -> None:
    """Raise DoesNotFit with the first region that is too small and the bytes over."""
    for region, excess in fit.over.items():
        raise DoesNotFit(region, excess, f"{fit.device.title} ({fit.device.name})")
