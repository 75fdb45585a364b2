"""Measure a finished network on the emulated core instead of predicting its costs.

This module composes quantization, C export and the emulator for `sparsemod.pipeline.trial`. Each
measurement keeps the prediction beside it.
"""

from collections.abc import Mapping

from sparsemod.emulator import Emulation, Emulator
from sparsemod.errors import DoesNotFit, EmulationError, ToolsMissing, UnknownName, Unsupported
from sparsemod.export.c import generate
from sparsemod.export.c.encoding import smallest
from sparsemod.export.c.networks import kernel_choices
from sparsemod.measure.costs import energy_of
from sparsemod.pipeline.problem import Problem
from sparsemod.quantization import IntegerNetwork, Quantized
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.records import Measurement
from sparsemod.targets import Device, device
from sparsemod.units import ENERGY


def measure_on_device(
    problem: Problem, network: Quantized, predicted: Mapping[str, Measurement]
) -> tuple[dict[str, Measurement], tuple[str, ...]]:
    """Return (metric -> measurement that replaces the predicted one, notes) of a finished network.

    The metrics are latency (for `measure.latency: operators`), instructions, flash, ram, and energy where the device's profile states
    its power. The result is
    empty with `measure.device: model` or a float network. With `auto`, an error becomes a note and the
    predictions stay. With `emulated`, the error is raised: ToolsMissing, UnknownName for a core without a
    machine, EmulationError. A note lists region and bytes when the network exceeds the device's memory.
    """
    spec = problem.spec
    if spec.measure.device == "model" or not isinstance(network, IntegerNetwork | DynamicNetwork):
        return {}, ()
    target = device(spec.target.device)
    try:
        emulation = Emulator(target.core).costs(network)
    except (ToolsMissing, UnknownName, EmulationError, Unsupported) as error:
        if spec.measure.device == "emulated":
            raise
        return {}, (f"device costs are predicted by the operator model: {error}",)
    kernels = kernel_choices(network, target.core)
    emulated = measurements(emulation, target, predicted, spec.target.power_mode, kernels)
    if spec.measure.latency != "operators":
        emulated.pop("latency")
    return emulated, tuple(
        str(DoesNotFit(region, over, target.title))
        for region, over in target.excess(emulation.flash, emulation.ram).items()
    )


def linked_size(network: Quantized, counted: Measurement) -> Measurement:
    """Return `counted`, a sparse model size, with the bytes that the exported C stores.

    The C stores each layer in its smallest form: dense, a mask, or gaps between nonzeros. The result is
    never larger than `counted`, which considers masks only. A network that C cannot express keeps the
    count.
    """
    if not isinstance(network, IntegerNetwork) or counted.detail.get("definition") != "sparse":
        return counted
    try:
        size = generate(network, encodings=network.encodings or smallest(network), core="").data_bytes
    except Unsupported:
        return counted
    method = "as stored by the exported C: per layer the smallest of dense, mask and gaps, with requantization constants"
    detail = {**counted.detail, "linked": size}
    return counted.model_copy(update={"value": float(size), "method": method, "detail": detail})


def measurements(
    emulation: Emulation,
    target: Device,
    predicted: Mapping[str, Measurement],
    power_mode: str | None = None,
    kernels: Mapping[str, str] | None = None,
) -> dict[str, Measurement]:
    """Return latency, instructions, flash, ram, and energy if the device states its power, as measurements.

    `detail` holds the prediction and its deviation. `kernels`: layer -> the kernel that it runs, where the core has generated ones.
    """
    how = emulation.method
    cycles = f"{target.cycles_method}, at {target.clock / 1e6:g} MHz"
    kernels_run = predicted["latency"].detail.get("kernels", {}) if "latency" in predicted else {}
    rest = emulation.instructions - sum(emulation.per_layer.values())
    weighted = target.weighted(emulation.per_layer, kernels_run) + rest

    def measured(metric: str, value: float, unit: str, method: str, **detail: object) -> Measurement:
        compared: dict[str, object] = {}
        if metric in predicted and predicted[metric].value > 0:
            before = predicted[metric].value
            compared = {
                "predicted": before,
                "prediction_error": round(before / value - 1, 5) if value else None,
            }
        return Measurement(
            metric=metric, value=float(value), unit=unit, method=method, target=target.name, detail={**compared, **detail}
        )  # fmt: skip

    facts = {"core": emulation.core, "board": emulation.board}
    parts = {"static": emulation.static_ram, "stack": emulation.stack}
    layers = dict(emulation.per_layer)
    cores = predicted["instructions"].detail.get("cores", {}) if "instructions" in predicted else {}
    results = (
        measured("latency", target.milliseconds(weighted), "ms", f"estimate: {how}, instructions); {cycles}", definition="operators", instructions=layers),
        measured("instructions", emulation.instructions, "instructions", f"{how}, one inference)", layers=layers, cores=cores, **({"kernels": dict(kernels)} if kernels else {}), **facts),
        measured("flash", emulation.flash, "B", f"{how}, linked code and constants of the network, without start-up code)", **facts),
        measured("ram", emulation.ram, "B", f"{how}, linked arena and painted stack)", **parts, **facts),
        *([measured(ENERGY, *energy_of(target, weighted, f"estimate: {how}, instructions); {cycles}", power_mode))] if target.power else ()),
    )  # fmt: skip
    return {measurement.metric: measurement for measurement in results}
