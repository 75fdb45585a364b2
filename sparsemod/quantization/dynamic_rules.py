"""Operators without int8 weights in dynamically quantized networks: float32, each with one defined order of operations.

A kind without a rule here runs as in the float network, and the C export refuses it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.graph import Graph, Operator
from sparsemod.graph.execute import as_image, step
from sparsemod.kinds import Stage
from sparsemod.quantization.dynamic_arithmetic import LOWEST, activated, number
from sparsemod.quantization.dynamic_functions import evaluate, unknown

DynamicRule = Callable[[Graph, Operator, list[Tensor]], Tensor]

DYNAMIC: Stage[DynamicRule] = Stage(
    "the dynamically quantized network", builtin=("sparsemod.quantization @DYNAMIC",)
)
"""Rules by kind: (graph, operator, float32 inputs (N, *shape), behind them the lengths) -> output before a fused activation."""


def run(graph: Graph, operator: Operator, inputs: list[Tensor], lengths: Tensor | None) -> Tensor:
    """Run an operator without int8 weights."""
    function = operator.attributes.get("function")
    if not DYNAMIC.has(operator.kind) or (function is not None and unknown(function)):
        return step(graph, operator, inputs, lengths)
    if operator.attributes.get("lengths") and lengths is not None:
        inputs = [*inputs, lengths]
    result = DYNAMIC.rule(operator.kind, operator.name)(graph, operator, inputs)
    result = result.reshape(len(result), *graph.shapes[operator.output])
    return activated(result, operator.attributes.get("activation"))


def valid_steps(operator: Operator, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the valid steps (N,) of an operator's input (N, steps, features)."""
    divisor = int(operator.attributes["lengths"])
    if not divisor or lengths is None:
        return torch.full((len(x),), x.shape[1])
    return (lengths // divisor).clamp(1, x.shape[1])


@DYNAMIC.rules("relu", "relu6")
def _clip(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return activated(inputs[0], operator.kind)


@DYNAMIC.rules("add", "sum")
def _sum(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] + inputs[1]


@DYNAMIC.register("subtract")
def _subtract(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] - inputs[1]


@DYNAMIC.register("multiply")
def _multiply(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] * inputs[1]


@DYNAMIC.register("maximum")
def _maximum(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return torch.where(inputs[0] > inputs[1], inputs[0], inputs[1])


@DYNAMIC.register("minimum")
def _minimum(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return torch.where(inputs[0] < inputs[1], inputs[0], inputs[1])


@DYNAMIC.register("offset")
def _offset(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] + graph.state[str(operator.weight)].float()


@DYNAMIC.register("prelu")
def _prelu(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    x, slopes = inputs[0], graph.state[str(operator.weight)].float()
    return torch.where(x > 0, x, x * slopes.reshape(-1, *(1,) * (x.ndim - 2)))


@DYNAMIC.register("table")
def _table(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return evaluate(operator.attributes["function"], inputs[0])


@DYNAMIC.rules("concat", "flatten", "reshape", "transpose", "move", "take", "last_step")
def _copied(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    """Run the float rule: elements are copied."""
    lengths = inputs[-1] if operator.attributes.get("lengths") else None
    return step(graph, operator, inputs[:-1] if lengths is not None else inputs, lengths)


@DYNAMIC.register("max_pool")
def _max_pool(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    """Start with the lowest number, and take each larger tap, row by row."""
    made = None
    for tap in _taps(graph, operator, inputs[0], LOWEST):
        made = (
            torch.where(tap > LOWEST, tap, number(LOWEST))
            if made is None
            else torch.where(tap > made, tap, made)
        )
    return made if made is not None else inputs[0]


@DYNAMIC.register("avg_pool")
def _avg_pool(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    """Add the taps row by row, and divide by their number."""
    total = number(0.0)
    for tap in _taps(graph, operator, inputs[0], 0.0):
        total = total + tap
    return total / pooled_counts(graph, operator)


def _taps(graph: Graph, operator: Operator, x: Tensor, outside: float) -> list[Tensor]:
    """Return the input of each tap of a window (N, C, rows, columns), row by row."""
    window, image = operator.window, as_image(graph, operator, x)
    _, rows, columns = graph.image(operator.output)
    sizes, counts = image.shape[2:], (rows, columns)
    around = []
    for axis in (1, 0):
        reach = (
            (counts[axis] - 1) * window.stride[axis] + window.dilation[axis] * (window.kernel[axis] - 1) + 1
        )
        before = window.around(axis)[0]
        around += [before, max(0, reach - before - sizes[axis])]
    padded = functional.pad(image, around, value=outside)

    def along(axis: int, tap: int) -> slice:
        start, stride = tap * window.dilation[axis], window.stride[axis]
        return slice(start, start + (counts[axis] - 1) * stride + 1, stride)

    return [
        padded[:, :, along(0, i), along(1, j)]
        for i in range(window.kernel[0])
        for j in range(window.kernel[1])
    ]


def pooled_counts(graph: Graph, operator: Operator) -> Tensor:
    """Return the number of elements (rows, columns) by which an average is divided."""
    window, counted = operator.window, bool(operator.attributes["count_include_pad"])
    _, *sizes = graph.image(operator.inputs[0])
    _, *counts = graph.image(operator.output)
    sides = []
    for axis in (0, 1):
        before, after = window.around(axis)
        starts = torch.arange(counts[axis]) * window.stride[axis] - before
        ends = (starts + window.kernel[axis]).clamp(max=sizes[axis] + (after if counted else 0))
        sides.append(ends - (starts if counted else starts.clamp(min=0)))
    return (sides[0][:, None] * sides[1]).float()


@DYNAMIC.register("global_avg_pool")
def _mean(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    """Add the positions row by row, and divide by their number."""
    image = as_image(graph, operator, inputs[0]).flatten(2)
    total = number(0.0)
    for position in range(image.shape[2]):
        total = total + image[:, :, position]
    return total / number(float(image.shape[2]))


@DYNAMIC.register("mean_steps")
def _mean_steps(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    """Add the valid steps from the first one on, and divide by their number."""
    x: Any = inputs[0]
    steps = valid_steps(operator, x, inputs[1] if len(inputs) > 1 else None)
    total = number(0.0)
    for place in range(x.shape[1]):
        total = torch.where((place < steps)[:, None], total + x[:, place], total)
    return total / steps[:, None].float()
