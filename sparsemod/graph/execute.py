"""Running a graph in float: the reference for captures and passes, and the source of calibration statistics."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph.operators import KINDS, Graph, Operator


@torch.no_grad()
def run_float(graph: Graph, x: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Tensor:
    """The graph's output (N, *shape) for `x` (N, *input shape). `observe(name, tensor)` sees the input and every operator's output.

    Tensors are freed after their last use. Raises InvalidInput when `x` has another shape.
    """
    if tuple(x.shape[1:]) != graph.shapes[graph.input]:
        raise InvalidInput(
            "x", tuple(x.shape), f"shape (N, {', '.join(map(str, graph.shapes[graph.input]))})"
        )
    last = {name: index for index, operator in enumerate(graph.operators) for name in operator.inputs}
    values = {graph.input: x}
    if observe is not None:
        observe(graph.input, x)
    for index, operator in enumerate(graph.operators):
        values[operator.output] = step(graph, operator, [values[name] for name in operator.inputs])
        if observe is not None:
            observe(operator.output, values[operator.output])
        for name in operator.inputs:
            if last[name] == index and name != graph.output:
                values.pop(name, None)
    return values[graph.output]


def step(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    """One operator on tensors with a batch axis."""
    x, a = inputs[0], operator.attributes
    weight = graph.state[operator.weight] if operator.weight else None
    bias = graph.state[operator.bias] if operator.bias else None
    match operator.kind:
        case "conv":
            result = functional.conv2d(
                _padded(x, a["padding"], 0.0),
                _given(weight),
                bias,
                a["stride"],
                0,
                a["dilation"],
                a["groups"],
            )
        case "linear":
            result = functional.linear(x, _given(weight), bias)
        case "batch_norm":
            mean, variance = graph.state[a["mean"]], graph.state[a["variance"]]
            result = functional.batch_norm(x, mean, variance, weight, bias, eps=a["epsilon"])
        case "relu":
            result = functional.relu(x)
        case "relu6":
            result = functional.relu6(x)
        case "max_pool":
            result = functional.max_pool2d(
                x, a["kernel"], a["stride"], _symmetric(operator), a["dilation"], a["ceil_mode"]
            )
        case "avg_pool":
            result = functional.avg_pool2d(
                x, a["kernel"], a["stride"], _symmetric(operator), a["ceil_mode"], a["count_include_pad"]
            )
        case "global_avg_pool":
            result = x.mean((2, 3), keepdim=a["keep"])
        case "add":
            result = x + inputs[1]
        case "concat":
            result = torch.cat(inputs, a["axis"] + 1)
        case "flatten":
            result = x.flatten(1)
        case _:
            raise Unsupported(operator.kind, operator.name, "the float interpreter", KINDS)
    return activate(result, a.get("activation"))


def activate(x: Tensor, activation: str | None) -> Tensor:
    """A fused activation: None, "relu" or "relu6"."""
    if activation is None:
        return x
    return functional.relu(x) if activation == "relu" else functional.relu6(x)


def _given(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise InvalidInput("operator.weight", None, "conv and linear need a weight")
    return tensor


def _padded(x: Tensor, padding: Any, value: float) -> Tensor:
    top, bottom, left, right = padding
    return functional.pad(x, (left, right, top, bottom), value=value) if any(padding) else x


def _symmetric(operator: Operator) -> tuple[int, int]:
    top, bottom, left, right = operator.attributes["padding"]
    if (top, left) != (bottom, right):
        raise Unsupported(
            operator.kind, operator.name, "the float interpreter", hint="pooling pads both sides alike"
        )
    return top, left
