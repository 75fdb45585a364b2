"""Latency without execution: instructions from the calibrated operator model, or multiply-adds divided by a rate.

The operator model is a sum over layers: the loop counts of their kernels (`sparsemod.measure.work`) times the costs on the device's
core (`sparsemod.targets.OperatorModel`, fitted to networks measured on the emulated core). Milliseconds = instructions x stated cycles
per instruction / clock, an estimate.
"""

import math
from dataclasses import dataclass, field

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph
from sparsemod.graph.macs import macs
from sparsemod.measure.predicted import Predicted
from sparsemod.targets import Device, operator_model


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference, the method, and the instructions (layer -> count; empty for `macs`).

    `kernels`: layer -> kernel, where the device's cycles per instruction depend on it."""

    milliseconds: float
    method: str
    instructions: dict[str, float]
    kernels: dict[str, str] = field(default_factory=dict)


def by_operators(predicted: Predicted, device: Device) -> Latency:
    """Return the latency that the operator model of the device's core predicts."""
    model = operator_model(device.model)
    core_note = "" if model.core == device.core else f" (fitted for that core, not for {device.core})"
    error = f", mean error {model.calibration.instructions:.1%}" if model.calibration else ""
    method = (
        f"estimate: operator model of {model.core}{core_note}{error}; {device.cycles_method}"
        f"{'' if device.calibration else ', not calibrated on this device'}"
    )
    kernels = {work.layer: work.on(model).kernel for work in predicted.works} if device.cycles else {}
    weighted = device.weighted(predicted.per_layer, kernels) if kernels else predicted.instructions
    return Latency(device.milliseconds(weighted), method, dict(predicted.per_layer), kernels)


def by_macs(graph: Graph, operations_per_second: float | None) -> Latency:
    """Return multiply-adds / operations per second. Raises InvalidInput without a positive rate."""
    if operations_per_second is None or not 0 < operations_per_second < math.inf:
        raise InvalidInput(
            "target.operations_per_second",
            operations_per_second,
            "a positive number, needed by latency by macs",
        )
    method = f"estimate: multiply-adds at {operations_per_second:g} per second"
    return Latency(macs(graph) / operations_per_second * 1000.0, method, {})
