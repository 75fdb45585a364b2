"""What a spec's device means for its budgets and metrics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from sparsemod.errors import InvalidInput
from sparsemod.spec.measure import MeasureSpec, TargetSpec
from sparsemod.spec.methods import Quantization
from sparsemod.units import ENERGY, LINKED

if TYPE_CHECKING:
    from sparsemod.targets import Device


class Wanted(Protocol):
    """The part of a spec that depends on its device."""

    @property
    def objectives(self) -> tuple[str, ...]: ...
    @property
    def budgets(self) -> Mapping[str, float]: ...
    @property
    def quantization(self) -> Quantization: ...
    @property
    def measure(self) -> MeasureSpec: ...
    @property
    def target(self) -> TargetSpec: ...


def device_budgets(spec: Wanted) -> dict[str, float]:
    """Return the spec's budgets and those that follow from its device; see `ExperimentSpec.all_budgets`."""
    from sparsemod.targets import calibrated_cores, device

    target = device(spec.target.device)
    calibrated = spec.quantization.integer and target.model in calibrated_cores()
    check_energy(spec, target, calibrated)
    limits = dict(spec.budgets)
    if calibrated:
        limits.setdefault("flash", float(target.flash))
        limits.setdefault("ram", float(target.ram))
        return limits
    for name in LINKED:
        if name in limits or name in spec.objectives:
            field = f"budgets.{name}" if name in limits else "objectives"
            raise InvalidInput(
                field, limits.get(name, name), f"a device with a calibrated core ({spec.target.device} has {target.model})"
            )  # fmt: skip
    if spec.measure.model_size != "nonzeros":
        limits.setdefault("model_size", float(target.flash))
    if spec.measure.working_memory.startswith(("arena", "peak")):
        limits.setdefault("working_memory", float(target.ram))
    return limits


def check_energy(spec: Wanted, target: "Device", calibrated: bool) -> None:
    """Raise InvalidInput or UnknownName when the device has no power for the metric energy, or no such mode; `calibrated`: whether
    the instructions of the spec's networks are predicted."""
    if ENERGY in spec.objectives or ENERGY in spec.budgets:
        field = f"budgets.{ENERGY}" if ENERGY in spec.budgets else "objectives"
        given = spec.budgets.get(ENERGY, ENERGY)
        if not target.power:
            allowed = f"other metrics, or a device whose profile states its power ({target.name} states none)"
            raise InvalidInput(field, given, allowed)
        if not calibrated:
            allowed = f"an int8 network on a device with a calibrated core (quantization.scheme is {spec.quantization.scheme}, {target.name} has {target.model})"
            raise InvalidInput(field, given, allowed)
    if spec.target.power_mode is not None:
        target.mode(spec.target.power_mode)
