"""Operators that move, join or rename elements."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.rules.movements import moved, padded, place
from sparsemod.graph.rules.pairs import emit_affine, emit_offset
from sparsemod.layouts import RANKS
from sparsemod.patterns import OUTSIDE

_LOWEST = -1e30  # pads below this value stand for -infinity


@aten("cat.default", "concat.default", "concatenate.default", kinds=("concat", "take", "offset"))
def _concat(call: Call) -> None:
    axis = call["dim"] % (len(call.result_shape) + 1)
    if axis == 0:
        raise call.unsupported("along the batch axis")
    inputs, constants = _with_constants(call, axis)
    _joined(call, inputs, axis)
    if constants is not None:
        emit_offset(call, call.tensor_of(call.node), Constant(constants))


@aten("stack.default", kinds=("concat", "reshape"))
def _stack(call: Call) -> None:
    axis = call["dim"] % (len(call.result_shape) + 1)
    if axis == 0:
        raise call.unsupported("along the batch axis")
    lifted = []
    for argument in call["tensors"]:
        source, index = call.source(argument)
        lifted.append(place(call, source, np.expand_dims(index, axis - 1)))
    if not all(isinstance(name, str) for name in lifted):
        raise call.unsupported(f"its result has shape {call.result_shape}; samples have at most three axes")
    _joined(call, lifted, axis)


def _joined(call: Call, inputs: list[str], axis: int) -> None:
    if len(inputs) == 1:
        call.walker.values[call.node] = inputs[0]
        return
    layouts = {call.layout_of(name) for name in inputs}
    if len(layouts) != 1:
        raise call.unsupported(f"layouts {', '.join(sorted(layout.name for layout in layouts))} differ")
    call.emit("concat", tuple(inputs), {"axis": axis - 1})


def _with_constants(call: Call, axis: int) -> tuple[list[str], Tensor | None]:
    """Return the tensors of a concatenation, and constants to add to the result, None for zeros.

    Constants become padding with zeros of the tensor before them, or of the first one.
    """
    found: list[tuple[str, NDArray[np.int64]]] = []
    constants, place_of, any_constant = torch.zeros(call.result_shape), 0, False
    first = 0  # zeros before the first tensor
    for node in call["tensors"]:
        value, size = call.walker.values[node], int(node.meta["val"].shape[axis])
        if isinstance(value, Constant) and (_of_module(call, node) or bool(value.tensor.any())):
            held = value.tensor.detach().to("cpu", torch.float32)
            if bool((held != held[:1]).any()):
                raise call.unsupported("one of its operands is a constant that differs between samples")
            constants.narrow(axis - 1, place_of, size).copy_(held[0])
            any_constant = True
        place_of += size
        if not isinstance(value, Constant):
            source, index = call.source(node)
            around = [(first if i == axis - 1 else 0, 0) for i in range(index.ndim)]
            found.append((source, np.pad(index, around, constant_values=OUTSIDE)))
            first = 0
        elif not found:
            first += value.tensor.shape[axis]
        else:
            source, index = found[-1]
            around = [(0, value.tensor.shape[axis] if i == axis - 1 else 0) for i in range(index.ndim)]
            found[-1] = (source, np.pad(index, around, constant_values=OUTSIDE))
    return [str(place(call, source, index)) for source, index in found], constants if any_constant else None


def _of_module(call: Call, node: Node) -> bool:
    """Whether a constant follows from the module's tensors, whose values training changes."""
    todo = [node]
    while todo:
        each = todo.pop()
        value = call.walker.values.get(each)
        if each.op == "placeholder" and isinstance(value, Constant):
            return True
        todo += each.all_input_nodes
    return False


@aten(
    "flatten.using_ints", "view.default", "reshape.default", "_unsafe_view.default",
    "squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", kinds=("flatten", "reshape"),
)  # fmt: skip
def _reshape(call: Call) -> None:
    if call.is_moved("self") or len(call.result_shape) not in RANKS or _splits_features(call):
        moved(call)
        return
    before, after = call.shape("self"), call.result_shape
    if after == before:
        call.alias("self")
        return
    if after == (math.prod(before),):
        call.emit("flatten", (call.tensor("self"),))
    else:
        call.emit("reshape", (call.tensor("self"),), {"shape": after}, layout=None, named=False)
    call.walker.storage[call.node] = call.walker.storage[call["self"]]


def _splits_features(call: Call) -> bool:
    """Whether the call gives a sequence of feature vectors three axes, as attention does with its heads."""
    return call.layout("self").name == "time-features" and len(call.result_shape) == 3


@aten("transpose.int", "permute.default", kinds=("transpose",))
def _transpose(call: Call) -> None:
    if call.is_moved("self"):
        moved(call)
        return
    rank = len(call.shape("self")) + 1
    if call.operator == "permute":
        order = [axis % rank for axis in call["dims"]]
    else:
        order = list(range(rank))
        first, second = call["dim0"] % rank, call["dim1"] % rank
        order[first], order[second] = order[second], order[first]
    if order == sorted(order):
        call.alias("self")
        return
    if order != [0, 2, 1]:
        moved(call)
        return
    transposed(call, call.tensor("self"))


def transposed(call: Call, tensor: str) -> str:
    """Append the transpose of a sequence: from channels-length to time-features, or back."""
    layout = "time-features" if call.layout_of(tensor).channel == 0 else "channels-length"
    rows, columns = call.walker.shapes[tensor]
    return call.emit("transpose", (tensor,), shape=(columns, rows), layout=layout, named=False)


@aten("pad.default", "constant_pad_nd.default", kinds=("pad", "take", "affine"))
def _pad(call: Call) -> None:
    if call.arguments.get("mode", "constant") != "constant":
        moved(call)
        return
    sizes = list(call["pad"]) + [0] * (4 - len(call["pad"]))
    value, layout = call.arguments.get("value"), call.layout("self")
    along = 2 * len(layout.positions)
    if not any(sizes):
        call.alias("self", copy=True)
        return
    if value not in (None, 0):
        if value < _LOWEST:
            padded(call, list(call["pad"]), "lowest")
        else:
            _pad_with(call, float(value))
        return
    if min(sizes) < 0 or any(sizes[along:]) or layout.channel != 0 or not along:
        padded(call, list(call["pad"]))
        return
    left, right, top, bottom = (int(size) for size in sizes[:4])
    call.emit("pad", (call.tensor("self"),), {"padding": (top, bottom, left, right)}, named=False)


def _pad_with(call: Call, value: float) -> None:
    """Pad with a number: zeros around the input minus the number, plus the number."""
    emit_affine(call, call.tensor("self"), 1.0, -value)
    call.arguments["self"] = call.walker.values[call.node]
    padded(call, list(call["pad"]))
    emit_affine(call, call.walker.values[call.node], 1.0, value)


@FLOAT.register("concat")
def _run_concat(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return torch.cat(inputs, operator.attributes["axis"] + 1)


@FLOAT.register("flatten")
def _run_flatten(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0].flatten(1)


@FLOAT.register("reshape")
def _run_reshape(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0].reshape(-1, *operator.attributes["shape"])


@FLOAT.register("transpose")
def _run_transpose(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0].transpose(1, 2)
