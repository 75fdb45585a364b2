"""Latency before anything runs: instructions by an operator model, or multiply-adds divided by a rate.

The operator model counts, with the coefficients of `sparsemod.targets.OperatorModel`,

    conv, linear       mac x multiply-adds + output x output elements + im2col x elements copied into a column buffer
    depthwise conv     depthwise_mac x multiply-adds + output x output elements
    max, avg pooling   pooled x elements that the windows read (global: all elements)
    add, concat, relu  output x output elements (no coefficient of their own was fitted)
    flatten            nothing

A conv larger than 1 x 1 copies kernel x input channels for each output position; a 1 x 1 one copies nothing. Milliseconds are
instructions x stated cycles per instruction / clock: an estimate.
"""

import math
from dataclasses import dataclass

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, Operator
from sparsemod.measure.macs import is_depthwise, macs, operator_macs
from sparsemod.targets import Device, OperatorModel, operator_model


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference, how they were obtained, and the instructions behind them (operator -> count; empty for `macs`)."""

    milliseconds: float
    method: str
    instructions: dict[str, float]


def operator_instructions(graph: Graph, operator: Operator, model: OperatorModel) -> float:
    """Instructions of one operator on one sample."""
    outputs = graph.elements(operator.output)
    if operator.kind in ("conv", "linear"):
        count = operator_macs(graph, operator)
        if is_depthwise(graph, operator):
            return model.depthwise_mac * count + model.output * outputs
        return model.mac * count + model.output * outputs + model.im2col * _columns(graph, operator)
    if operator.kind == "global_avg_pool":
        return model.pooled * graph.elements(operator.inputs[0])
    if operator.kind in ("max_pool", "avg_pool"):
        rows, columns = operator.attributes["kernel"]
        return model.pooled * outputs * int(rows * columns)
    if operator.kind == "flatten":
        return 0.0
    return model.output * outputs


def _columns(graph: Graph, operator: Operator) -> int:
    rows, columns = operator.attributes.get("kernel", (1, 1))
    if rows * columns == 1:
        return 0
    channels = graph.shapes[operator.inputs[0]][0]
    return int(rows * columns) * channels * math.prod(graph.shapes[operator.output][1:])


def by_operators(graph: Graph, device: Device) -> Latency:
    """The operator model of the device's core."""
    model = operator_model(device.operator_model)
    counts = {o.name: operator_instructions(graph, o, model) for o in graph.operators}
    milliseconds = sum(counts.values()) * device.cycles_per_instruction / device.clock * 1000.0
    other = "" if model.core == device.core else f" (fitted for that core, not for {device.core})"
    method = (
        f"estimate: operator model, {model.core} coefficients{other}, {device.cycles_per_instruction:g} cycles per instruction "
        "as stated, not calibrated on this device"
    )
    return Latency(milliseconds, method, counts)


def by_macs(graph: Graph, operations_per_second: float | None) -> Latency:
    """Multiply-adds / operations per second. Raises InvalidInput without a positive rate."""
    if operations_per_second is None or not 0 < operations_per_second < math.inf:
        raise InvalidInput(
            "target.operations_per_second",
            operations_per_second,
            "a positive number, needed by latency by macs",
        )
    method = f"estimate: multiply-adds at {operations_per_second:g} per second"
    return Latency(macs(graph) / operations_per_second * 1000.0, method, {})
