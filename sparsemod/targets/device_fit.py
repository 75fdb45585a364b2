"""Which devices a trial's network fits, from its measurements: no network is compiled for it."""

from collections.abc import Iterable, Sequence

from sparsemod.records import Measurement, Record
from sparsemod.targets.device import Device
from sparsemod.targets.profiles import device, device_names


class DeviceFit(Record):
    """A network beside a device's memory, in bytes. `over`: region -> bytes beyond it, empty where it fits.

    `milliseconds` is an estimate from instructions on the device's core: counted there, or predicted by that core's model; None where neither
    is known. `basis` says which, and where flash and RAM come from.
    """

    device: str
    title: str
    fits: bool
    flash: int
    flash_available: int
    ram: int
    ram_available: int
    over: dict[str, int]
    milliseconds: float | None
    basis: str


def device_fits(
    measurements: Iterable[Measurement], devices: Sequence[Device] | None = None
) -> tuple[DeviceFit, ...]:
    """The trial with these measurements on each device (default: all that are known).

    Flash and RAM as linked where the trial has them, else model size and working memory, which leave code and stack out. Empty without either.
    """
    found = {m.metric: m for m in measurements if m.split != "test"}
    flash = found.get("flash") or found.get("model_size")
    ram = found.get("ram") or found.get("working_memory")
    if flash is None or ram is None or "B" not in (flash.unit, ram.unit):
        return ()
    chosen = [device(name) for name in device_names()] if devices is None else devices
    return tuple(_fit(one, flash, ram, found.get("instructions")) for one in chosen)


def _fit(one: Device, flash: Measurement, ram: Measurement, counted: Measurement | None) -> DeviceFit:
    needs = {"flash": (flash.value, one.flash), "RAM": (ram.value, one.ram)}
    over = {region: round(need - have) for region, (need, have) in needs.items() if need > have}
    instructions, basis = None, "instructions not known"
    if counted is not None:
        cores = counted.detail.get("cores") or {}
        if counted.detail.get("core") == one.model:
            instructions, basis = counted.value, counted.method.partition(" (")[0]
        elif one.model in cores:
            instructions, basis = float(cores[one.model]), f"predicted for {one.model}"
    where = flash.detail.get("core")
    linked = f"; flash and RAM as linked for {where}" if where else "; flash and RAM without code and stack"
    return DeviceFit(
        device=one.name,
        title=one.title,
        fits=not over,
        flash=round(flash.value),
        flash_available=one.flash,
        ram=round(ram.value),
        ram_available=one.ram,
        over=over,
        milliseconds=None if instructions is None else one.milliseconds(instructions),
        basis=basis + linked,
    )
