"""Which devices a trial's network fits, judged from its measurements without compiling."""

from collections.abc import Iterable, Sequence

from sparsemod.records import Measurement, Record
from sparsemod.targets.device import Device
from sparsemod.targets.profiles import device, device_names


class DeviceFit(Record):
    """A network's memory needs compared with a device's memory, in bytes.

    `over`: region -> bytes over its size; empty if the network fits.

    `milliseconds` is an estimate from instructions on the device's core, counted on that core or predicted by
    its model; None if neither is known. `basis` names the source of the instructions and of flash and RAM.
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
    """Compare a trial's measurements with each device (default: all known devices).

    Uses linked flash and RAM if measured, else model size and working memory, which exclude code and stack.
    Returns () without either.
    """
    by_metric = {m.metric: m for m in measurements if not m.on_test}
    flash = by_metric.get("flash") or by_metric.get("model_size")
    ram = by_metric.get("ram") or by_metric.get("working_memory")
    if flash is None or ram is None or "B" not in (flash.unit, ram.unit):
        return ()
    chosen = [device(name) for name in device_names()] if devices is None else devices
    return tuple(_fit(one, flash, ram, by_metric.get("instructions")) for one in chosen)


def _fit(one: Device, flash: Measurement, ram: Measurement, counted: Measurement | None) -> DeviceFit:
    over = one.excess(flash.value, ram.value)
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
