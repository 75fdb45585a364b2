"""Arithmetic of two tensors, or of a tensor and a constant."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant, Moved
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.functions import X
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.rules.functions import emit_table
from sparsemod.graph.rules.movements import halves


def operand(call: Call, name: str) -> str | Constant | float:
    """Return an argument: a tensor's name, a constant tensor, or a number."""
    given = call.arguments[name]
    if not isinstance(given, Node):
        return float(given)
    value = call.walker.values[given]
    if isinstance(value, Constant):
        return _number_or_constant(call, given, value)
    return call.tensor(name)


def _number_or_constant(call: Call, node: Node, value: Constant) -> Constant | float:
    """Return a constant, as a number if it is one, and without a batch axis if all samples have the same values."""
    if value.tensor.numel() == 1:
        return float(value.tensor)
    held, rank = value.tensor, len(call.node.meta["val"].shape)
    if held.ndim == rank and held.shape[0] > 1 and bool((held == held[:1]).all()):
        return Constant(held[:1])
    return value


def _alpha(call: Call) -> float:
    return float(call.arguments.get("alpha", 1))


@aten(
    "add.Tensor", "add_.Tensor", "add.Scalar", "add_.Scalar", "rsub.Scalar", "rsub.Tensor", "sub.Tensor", "sub_.Tensor", "sub.Scalar",
    "sub_.Scalar", kinds=("add", "sum", "subtract", "affine", "offset"),
)  # fmt: skip
def _add(call: Call) -> None:
    first, second, factor = operand(call, "self"), operand(call, "other"), _alpha(call)
    signs = {"add": (1.0, factor), "sub": (1.0, -factor), "rsub": (-factor, 1.0)}[call.operator.strip("_")]
    if isinstance(first, str) and isinstance(second, str):
        if abs(factor) != 1.0:  # the second tensor times a number, and a plain sum
            emit_affine(call, second, abs(factor), 0.0)
            second = str(call.walker.values[call.node])
            signs = (signs[0] / abs(signs[0]), signs[1] / abs(signs[1]))
        both = (second, first) if signs[0] < 0 else (first, second)
        emit_pair(call, "sum" if signs == (1.0, 1.0) else "subtract", *both)
        return
    tensor, constant = (first, second) if isinstance(first, str) else (second, first)
    scale, sign = signs if isinstance(first, str) else signs[::-1]
    emit_affine(call, str(tensor), scale, _scaled(constant, sign))


@aten("mul.Tensor", "mul_.Tensor", "mul.Scalar", "mul_.Scalar", kinds=("multiply", "affine"))
def _mul(call: Call) -> None:
    for name, other in (("self", "other"), ("other", "self")):
        factor = _factor(call, other)
        if factor is not None and _of_view(call, name, factor):
            return
    first, second = operand(call, "self"), operand(call, "other")
    if isinstance(first, str) and isinstance(second, str):
        emit_pair(call, "multiply", first, second)
    elif isinstance(first, str):
        emit_affine(call, first, _scaled(second, 1.0), 0.0)
    else:
        emit_affine(call, str(second), _scaled(first, 1.0), 0.0)


@aten("div.Tensor", "div_.Tensor", "div.Scalar", "div_.Scalar", kinds=("affine", "table"))
def _div(call: Call) -> None:
    divisor = _factor(call, "other")
    if divisor is not None:
        inverse = 1 / divisor if isinstance(divisor, float) else _inverted(divisor)
        if _of_view(call, "self", inverse):
            return
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


def _factor(call: Call, name: str) -> float | Constant | None:
    """Return an argument that is a number or a constant, else None."""
    given = call.arguments[name]
    value = call.walker.values[given] if isinstance(given, Node) else float(given)
    if isinstance(value, Constant):
        return _number_or_constant(call, given, value)
    return value if isinstance(value, float) else None


def _of_view(call: Call, name: str, factor: float | Constant) -> bool:
    """Multiply the source of a view by a number, or by one for each channel; the result is the same view.

    False for an argument that is no view, and for constants that differ between the positions of its source.
    """
    value = call.walker.values[call[name]] if isinstance(call[name], Node) else None
    if not isinstance(value, Moved) or not value.lazy:
        return False
    if isinstance(factor, Constant):
        shape = call.walker.shapes[value.source]
        if value.batch or value.index.size != math.prod(shape):
            return False
        given = factor.tensor.detach().double()
        given = given[0] if given.ndim > value.index.ndim and given.shape[0] == 1 else given
        if given.ndim > value.index.ndim:
            return False
        full = torch.empty(math.prod(shape), dtype=torch.float64)
        full[torch.from_numpy(value.index.reshape(-1))] = given.broadcast_to(value.index.shape).reshape(-1)
        rows = (
            full.reshape(shape).movedim(call.layout_of(value.source).channel, 0).flatten(1)
            if len(shape) > 1
            else full[:, None]
        )
        if not bool((rows == rows[:, :1]).all()):
            return False
        factor = Constant(full.reshape(shape))
    emit_affine(call, value.source, factor, 0.0)
    call.walker.values[call.node] = Moved(str(call.walker.values[call.node]), value.index, True, value.batch)
    return True


@aten("glu.default", kinds=("move", "table", "multiply"))
def _glu(call: Call) -> None:
    value, gate = halves(call, int(call["dim"]))
    emit_pair(call, "multiply", value, emit_table(call, ("sigmoid", X), gate))


@aten("addcmul.default", kinds=("multiply", "affine", "sum"))
def _addcmul(call: Call) -> None:
    added, first, second = (operand(call, name) for name in ("self", "tensor1", "tensor2"))
    if not all(isinstance(each, str) for each in (added, first, second)):
        raise call.unsupported("with a constant; use * and +")
    emit_pair(call, "multiply", str(first), str(second))
    emit_affine(call, str(call.walker.values[call.node]), float(call["value"]), 0.0)
    emit_pair(call, "sum", str(added), str(call.walker.values[call.node]))


@aten("lerp.Scalar", kinds=("affine", "sum"))
def _lerp(call: Call) -> None:
    first, second, weight = operand(call, "self"), operand(call, "end"), float(call["weight"])
    if not isinstance(first, str) or not isinstance(second, str):
        raise call.unsupported("with a constant; use * and +")
    emit_affine(call, first, 1 - weight, 0.0)
    kept = str(call.walker.values[call.node])
    emit_affine(call, second, weight, 0.0)
    emit_pair(call, "sum", kept, str(call.walker.values[call.node]))


@aten(
    "where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar", kinds=("multiply", "affine", "sum")
)
def _where(call: Call) -> None:
    _chosen(call, call.tensor("condition"), operand(call, "self"), operand(call, "other"))


@aten("masked_fill.Scalar", "masked_fill_.Scalar", kinds=("multiply", "affine", "sum"))
def _masked_fill(call: Call) -> None:
    _chosen(call, call.tensor("mask"), float(call["value"]), operand(call, "self"))


def _chosen(call: Call, condition: str, first: Any, second: Any) -> None:
    """Append condition * first + (1 - condition) * second, with a condition of zeros and ones."""
    sides = []
    for value, scale, shift in ((first, 1.0, 0.0), (second, -1.0, 1.0)):
        if isinstance(value, float):
            emit_affine(call, condition, scale * value, shift * value)
        else:
            emit_affine(call, condition, scale, shift)
            if not isinstance(value, str):
                raise call.unsupported("with a constant tensor")
            emit_pair(call, "multiply", str(call.walker.values[call.node]), value)
        sides.append(str(call.walker.values[call.node]))
    emit_pair(call, "sum", *sides)


@aten(
    "maximum.default", "minimum.default", "max.other", "min.other", "fmax.default", "fmin.default",
    kinds=("maximum", "minimum", "table"),
)  # fmt: skip
def _extreme(call: Call) -> None:
    kind = "maximum" if "max" in call.operator else "minimum"
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

    Where the two have different layouts, one is copied to the other's. Raises Unsupported for different ranks.
    """
    shapes = [call.walker.shapes[name] for name in (first, second)]
    if len(shapes[0]) != len(shapes[1]):
        raise call.unsupported(f"shapes {shapes[0]} and {shapes[1]} have different numbers of axes")
    if first in call.walker.inputs:
        first = call.with_layout(first, call.layout_of(second).name)
    second = call.with_layout(second, call.layout_of(first).name)
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
    if _differs(call, tensor, shift):
        if not isinstance(scale, Constant) and float(scale) == 1.0:
            emit_offset(call, tensor, shift)
            return
        emit_affine(call, tensor, scale, 0.0)
        emit_offset(call, str(call.walker.values[call.node]), shift)
        return
    shape, layout = call.walker.shapes[tensor], call.layout_of(tensor)
    vectors = [_per_channel(call, constant, shape, layout.channel) for constant in (scale, shift)]
    call.emit(
        "affine", (tensor,), {"uniform": uniform},
        Constant(vectors[0].float()), Constant(vectors[1].float()), shape=shape,
    )  # fmt: skip


def _differs(call: Call, tensor: str, shift: Any) -> bool:
    """Whether a constant differs between the positions of a tensor, as the shape says: equal values before training say nothing."""
    if not isinstance(shift, Constant):
        return False
    shape, channel = call.walker.shapes[tensor], call.layout_of(tensor).channel
    sizes = tuple(shift.tensor.shape)
    sizes = sizes[1:] if len(sizes) == len(shape) + 1 and sizes[0] == 1 else sizes
    sizes = (1,) * (len(shape) - len(sizes)) + sizes
    return len(sizes) == len(shape) and any(size > 1 for axis, size in enumerate(sizes) if axis != channel)


def emit_offset(call: Call, tensor: str, shift: Any) -> None:
    """Append y = x + a constant for each element, such as a positional embedding."""
    shape = call.walker.shapes[tensor]
    constant = shift.tensor.detach()
    if not bool(torch.isfinite(constant).all()):
        raise call.unsupported("with a mask: a constant that is not finite")
    constant = constant[0] if constant.ndim > len(shape) else constant
    try:
        full = constant.broadcast_to(shape)
    except RuntimeError:
        sizes = tuple(shift.tensor.shape)
        raise call.unsupported(f"a constant of shape {sizes} for samples of shape {shape}") from None
    same = tuple(shift.tensor.shape) == shape
    call.emit("offset", (tensor,), {}, shift if same else Constant(full.contiguous()), shape=shape)


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


@FLOAT.register("offset")
def _run_offset(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] + graph.state[str(operator.weight)]


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
