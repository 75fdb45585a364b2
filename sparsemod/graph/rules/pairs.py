"""Arithmetic of two tensors, or of a tensor and a constant."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.functions import X
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.rules.functions import emit_table


def operand(call: Call, name: str) -> str | Constant | float:
    """Return an argument: a tensor's name, a constant tensor, or a number."""
    given = call.arguments[name]
    if not isinstance(given, Node):
        return float(given)
    value = call.walker.values[given]
    if isinstance(value, Constant):
        return float(value.tensor) if value.tensor.numel() == 1 else value
    return call.tensor(name)


def _alpha(call: Call) -> float:
    return float(call.arguments.get("alpha", 1))


@aten(
    "add.Tensor", "add_.Tensor", "add.Scalar", "add_.Scalar", "rsub.Scalar", "rsub.Tensor", "sub.Tensor", "sub_.Tensor", "sub.Scalar",
    "sub_.Scalar", kinds=("add", "sum", "subtract", "affine"),
)  # fmt: skip
def _add(call: Call) -> None:
    first, second, factor = operand(call, "self"), operand(call, "other"), _alpha(call)
    signs = {"add": (1.0, factor), "sub": (1.0, -factor), "rsub": (-factor, 1.0)}[call.operator.strip("_")]
    if isinstance(first, str) and isinstance(second, str):
        if signs in ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0)):
            both = (second, first) if signs[0] < 0 else (first, second)
            emit_pair(call, "sum" if signs == (1.0, 1.0) else "subtract", *both)
            return
        raise call.unsupported("with alpha")
    tensor, constant = (first, second) if isinstance(first, str) else (second, first)
    scale, sign = signs if isinstance(first, str) else signs[::-1]
    emit_affine(call, str(tensor), scale, _scaled(constant, sign))


@aten("mul.Tensor", "mul_.Tensor", "mul.Scalar", "mul_.Scalar", kinds=("multiply", "affine"))
def _mul(call: Call) -> None:
    first, second = operand(call, "self"), operand(call, "other")
    if isinstance(first, str) and isinstance(second, str):
        emit_pair(call, "multiply", first, second)
    elif isinstance(first, str):
        emit_affine(call, first, _scaled(second, 1.0), 0.0)
    else:
        emit_affine(call, str(second), _scaled(first, 1.0), 0.0)


@aten("div.Tensor", "div_.Tensor", "div.Scalar", "div_.Scalar", kinds=("affine", "table"))
def _div(call: Call) -> None:
    first, second = operand(call, "self"), operand(call, "other")
    if isinstance(first, str) and isinstance(second, str):
        made = emit_table(call, ("reciprocal", X), second)
        emit_pair(call, "multiply", first, made)
    elif isinstance(first, str):
        emit_affine(call, first, 1 / second if isinstance(second, float) else _inverted(second), 0.0)
    elif isinstance(first, float):
        emit_table(call, ("divide", first, X), str(second))
    else:
        made = emit_table(call, ("reciprocal", X), str(second))
        emit_affine(call, made, first, 0.0)


@aten("maximum.default", "minimum.default", "max.other", "min.other", kinds=("maximum", "minimum", "table"))
def _extreme(call: Call) -> None:
    kind = "maximum" if call.operator.startswith("max") else "minimum"
    first, second = operand(call, "self"), operand(call, "other")
    if isinstance(first, str) and isinstance(second, str):
        emit_pair(call, kind, first, second)
        return
    tensor, limit = (first, second) if isinstance(first, str) else (second, first)
    if not isinstance(limit, float):
        raise call.unsupported("with a constant tensor")
    emit_table(call, (kind, X, limit), str(tensor))


def _scaled(constant: Any, factor: float) -> Any:
    if isinstance(constant, Constant):
        return constant if factor == 1.0 else Constant(constant.tensor * factor)
    return constant * factor


def _inverted(constant: Any) -> Constant:
    return Constant(constant.tensor.double().reciprocal().float())


def emit_pair(call: Call, kind: str, first: str, second: str) -> str:
    """Append arithmetic of two tensors of equal rank. Sizes of 1 are repeated, as in torch.

    Raises Unsupported for different ranks or layouts.
    """
    shapes = [call.walker.shapes[name] for name in (first, second)]
    if len(shapes[0]) != len(shapes[1]):
        raise call.unsupported(f"shapes {shapes[0]} and {shapes[1]} have different numbers of axes")
    layouts = [call.layout_of(name) for name in (first, second)]
    if layouts[0] != layouts[1]:
        raise call.unsupported(f"layouts {layouts[0].name} and {layouts[1].name} differ")
    if kind == "sum" and shapes[0] == shapes[1]:
        kind = "add"
    return call.emit(kind, (first, second), shape=tuple(torch.broadcast_shapes(*shapes)))


def emit_affine(call: Call, tensor: str, scale: Any, shift: Any) -> None:
    """Append y = x * scale + shift with numbers, or with constant tensors that differ between channels only.

    Raises Unsupported for constants that differ between positions, or that repeat the tensor.
    """
    # A constant tensor may be a parameter: equal values before training say nothing of those after it.
    uniform = (
        None if isinstance(scale, Constant) or isinstance(shift, Constant) else (float(scale), float(shift))
    )
    if uniform == (1.0, 0.0):
        call.walker.values[call.node] = tensor
        return
    shape, layout = call.walker.shapes[tensor], call.layout_of(tensor)
    vectors = [_per_channel(call, constant, shape, layout.channel) for constant in (scale, shift)]
    call.emit(
        "affine", (tensor,), {"uniform": uniform},
        Constant(vectors[0].float()), Constant(vectors[1].float()), shape=shape,
    )  # fmt: skip


def _per_channel(call: Call, constant: Any, shape: tuple[int, ...], channel: int) -> Tensor:
    channels = shape[channel]
    if not isinstance(constant, Constant):
        return torch.full((channels,), float(constant), dtype=torch.float64)
    tensor = constant.tensor.detach().double()
    if tensor.ndim > len(shape):
        if tensor.ndim > len(shape) + 1 or tensor.shape[0] != 1:
            raise call.unsupported(f"a constant of shape {tuple(tensor.shape)} for samples of shape {shape}")
        tensor = tensor[0]
    try:
        full = tensor.broadcast_to(shape)
    except RuntimeError:
        raise call.unsupported(
            f"a constant of shape {tuple(tensor.shape)} for samples of shape {shape}"
        ) from None
    rows = full.movedim(channel, 0).reshape(channels, -1)
    if not bool((rows == rows[:, :1]).all()):
        raise call.unsupported(
            f"its constant of shape {tuple(tensor.shape)} differs between positions; one number for each channel can be folded"
        )
    return rows[:, 0].clone()


@FLOAT.register("affine")
def _run_affine(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    layout = graph.layout(operator.inputs[0])
    axes = [1] * (layout.rank + 1)
    axes[layout.channel + 1] = -1
    scale, shift = graph.state[str(operator.weight)], graph.state[str(operator.bias)]
    return inputs[0] * scale.reshape(axes) + shift.reshape(axes)


@FLOAT.register("sum")
def _run_sum(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] + inputs[1]


@FLOAT.register("subtract")
def _run_subtract(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] - inputs[1]


@FLOAT.register("multiply")
def _run_multiply(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] * inputs[1]


@FLOAT.register("maximum")
def _run_maximum(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return torch.maximum(inputs[0], inputs[1])


@FLOAT.register("minimum")
def _run_minimum(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return torch.minimum(inputs[0], inputs[1])
