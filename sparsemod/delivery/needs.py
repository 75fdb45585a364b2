"""Which devices a network fits: its C code as linked for each core, against each device's flash and RAM.

Measured on the emulated device where the tools are there. Without them only what the C project states is known: its constants and its
arena, which are less than what is needed in the end; `method` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from sparsemod.errors import DoesNotFit
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.records import Record
from sparsemod.targets import Device, device, device_names


class Need(Record):
    """Bytes of flash and RAM of one network on one core, and the instructions of one inference where they were measured."""

    core: str
    flash: int
    ram: int
    instructions: int | None = None
    per_layer: dict[str, int] = Field(default_factory=dict)
    method: str
    measured: bool


@dataclass(frozen=True)
class Fit:
    """A network on a device. `over`: region -> bytes beyond it, empty when it fits; `milliseconds` is an estimate."""

    device: Device
    need: Need
    over: dict[str, int]
    milliseconds: float | None

    @property
    def fits(self) -> bool:
        """Whether flash and RAM suffice."""
        return not self.over


def need(network: IntegerNetwork, core: str) -> Need:
    """What the network's C code needs on `core`. Raises Unsupported for a layer without a C kernel."""
    from sparsemod.emulator import Emulator, available
    from sparsemod.export.c import generate

    missing = available(core)
    if missing is not None:
        made = generate(network)
        method = f"weights and arena of the C code; code and stack come on top ({missing})"
        return Need(core=core, flash=made.data_bytes, ram=made.arena.size, method=method, measured=False)
    try:
        found = Emulator(core).measure(network)
    except DoesNotFit as error:
        made = generate(network)
        method = f"weights and arena of the C code; code and stack come on top (more than the emulated machine holds: {error})"
        return Need(core=core, flash=made.data_bytes, ram=made.arena.size, method=method, measured=False)
    return Need(
        core=core,
        flash=found.flash,
        ram=found.ram,
        instructions=found.instructions,
        per_layer=dict(found.per_layer),
        method=f"{found.method})" if found.method.count("(") > found.method.count(")") else found.method,
        measured=True,
    )


def fits(network: IntegerNetwork, devices: Sequence[Device] | None = None) -> tuple[Fit, ...]:
    """The network on each device (default: all that are known), compiled once per core."""
    chosen = [device(name) for name in device_names()] if devices is None else list(devices)
    needs = {core: need(network, core) for core in sorted({found.core for found in chosen})}
    return tuple(fit(needs[found.core], found) for found in chosen)


def fit(need: Need, device: Device) -> Fit:
    """A known need on a device."""
    regions = {"flash": need.flash - device.flash, "RAM": need.ram - device.ram}
    over = {region: excess for region, excess in regions.items() if excess > 0}
    time = None if need.instructions is None else device.milliseconds(need.instructions)
    return Fit(device, need, over, time)


def check_fit(fit: Fit) -> None:
    """Raises DoesNotFit with the first region that is too small and the bytes over."""
    for region, excess in fit.over.items():
        raise DoesNotFit(region, excess, f"{fit.device.title} ({fit.device.name})")
