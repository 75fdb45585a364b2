"""Products of two matrices: of tensors, or of a tensor and a constant, and attention."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant, Moved
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.macs import MACS
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.rules.shaping import transposed
from sparsemod.graph.rules.vectors import ROWS, arranged, vectors
from sparsemod.graph.rules.weighted import linear_per_step
from sparsemod.layouts import LAYOUTS
from sparsemod.patterns import Index, Pattern, in_memory, pattern_of

Side = tuple[str, Index]
"""A tensor, and the numbers of its elements: (products, rows or columns, inner)."""


@aten(
    "matmul.default", "bmm.default", "mm.default", "addmm.default", "__matmul__.default",
    kinds=("matmul", "linear", "conv"),
)  # fmt: skip
def _matmul(call: Call) -> None:
    names = {"matmul": ("self", "other"), "addmm": ("mat1", "mat2")}.get(call.operator, ("self", "mat2"))
    if (call.arguments.get("alpha", 1), call.arguments.get("beta", 1)) != (1, 1):
        raise call.unsupported("with alpha or beta")
    values = [call.walker.values[call.arguments[name]] for name in names]
    if isinstance(values[1], Constant):
        _by_constant(call, names[0], values[1])
    elif isinstance(values[0], Constant):
        _constant_by(call, values[0], names[1])
    else:
        first, second = (_side(call, name) for name in names)
        product(call, first, (second[0], _swapped(call, second[1])))


def _side(call: Call, name: str) -> Side:
    """Return the elements of an argument; a view whose order is not regular is copied first."""
    source, index = call.source(call.arguments[name])
    lines = index.reshape(-1, *index.shape[-2:]) if index.ndim > 1 else index
    if lines.ndim == 3 and isinstance(call.walker.values[call.arguments[name]], Moved):
        turned = (lines, np.swapaxes(lines, 1, 2))
        if index.ndim <= 3 and not all(
            _regular(call, source, each) or _copyable(call, source, each) for each in turned
        ):
            call.tensor_of(call.arguments[name])
            return call.source(call.arguments[name])
    return source, index


def _swapped(call: Call, index: Index) -> Index:
    if index.ndim < 2:
        raise call.unsupported("of a vector: only of matrices")
    return np.swapaxes(index, -1, -2)


def _by_constant(call: Call, name: str, matrix: Constant) -> None:
    """Translate a tensor times a constant matrix to a linear layer, on each row."""
    bias = call.constant("self") if call.operator == "addmm" else None
    if matrix.tensor.ndim != 2 or (bias is not None and bias.tensor.ndim != 1):
        raise call.unsupported("only tensors times a constant matrix of two axes")
    weight = Constant(matrix.tensor.t().contiguous(), matrix.transposed)
    tensor = call.tensor(name)
    if len(call.walker.shapes[tensor]) == 1:
        call.emit("linear", (tensor,), {"parameter": call.parameter(weight)}, weight, bias)
    elif len(call.walker.shapes[tensor]) == 2:
        call.relayout(name, ROWS)
        if call.layout(name).name != ROWS:
            raise call.unsupported(f"its input has layout {call.layout(name).name}: state time-features")
        linear_per_step(call, call.tensor(name), weight, bias)
    else:
        raise call.unsupported(f"its input has shape {call.walker.shapes[tensor]}; flatten it first")


def _constant_by(call: Call, matrix: Constant, name: str) -> None:
    """Translate a constant matrix times a tensor (rows, columns) to a linear layer on each column."""
    tensor = call.tensor(name)
    if matrix.tensor.ndim != 2 or len(call.walker.shapes[tensor]) != 2:
        raise call.unsupported("only a constant matrix of two axes times a matrix")
    turned = transposed(call, tensor)
    if call.layout_of(turned).name != ROWS:
        turned = call.with_layout(turned, ROWS)
    transposed(call, linear_per_step(call, turned, Constant(matrix.tensor, matrix.key), None))


def product(call: Call, first: Side, second: Side, factor: float = 1.0) -> None:
    """Append the products of the last two axes, first (..., rows, inner) and second (..., columns, inner), times `factor`.

    Other axes count products; they are repeated as in torch.
    """
    if min(first[1].ndim, second[1].ndim) < 2:
        raise call.unsupported("of a vector: only of matrices")
    batch = np.broadcast_shapes(first[1].shape[:-2], second[1].shape[:-2])
    rows, columns, inner = first[1].shape[-2], second[1].shape[-2], first[1].shape[-1]
    count = math.prod(batch)
    sides = []
    for (source, index), size in ((first, rows), (second, columns)):
        whole = np.broadcast_to(index, (*batch, size, inner)).reshape(count, size, inner)
        sides.append(_readable(call, source, whole))
    attributes: dict[str, Any] = {
        "products": count,
        "rows": rows,
        "columns": columns,
        "inner": inner,
        "factor": factor,
    }
    for name, (_, index) in zip(("first", "second"), sides, strict=True):
        pattern = pattern_of(index.reshape(-1))
        if pattern is None:
            raise call.unsupported("it reads elements in no regular order")
        attributes |= {
            f"{name}_sizes": pattern.sizes,
            f"{name}_strides": pattern.strides,
            f"{name}_offset": pattern.offset,
        }
    made = call.emit(
        "matmul", (sides[0][0], sides[1][0]), attributes, shape=(rows, count * columns), layout=ROWS
    )
    numbers = np.arange(rows * count * columns).reshape(rows, count, columns)
    arranged(call, made, np.swapaxes(numbers, 0, 1).reshape(*batch, rows, columns))


def _readable(call: Call, source: str, index: Index) -> Side:
    """Return the side itself when C reads its elements with one step along each axis, else a copy of its elements."""
    if _regular(call, source, index):
        return source, index
    pattern = pattern_of(index.reshape(-1))
    if pattern is None or not _copyable(call, source, index):
        raise call.unsupported("it reads elements in no regular order")
    attributes = {"sizes": pattern.sizes, "strides": pattern.strides, "offset": pattern.offset}
    shape = (index.shape[0] * index.shape[1], index.shape[2])
    copied = call.emit("move", (source,), attributes, shape=shape, layout=ROWS, named=False)
    return copied, np.arange(index.size).reshape(index.shape)


def _copyable(call: Call, source: str, index: Index) -> bool:
    """Whether one operator can copy the elements row by row."""
    shape, flat = (index.shape[0] * index.shape[1], index.shape[2]), index.reshape(-1)
    given = call.walker.shapes[source], call.layout_of(source)
    return (
        pattern_of(flat) is not None
        and pattern_of(in_memory(flat, given, (shape, LAYOUTS[ROWS]))) is not None
    )


def _regular(call: Call, source: str, index: Index) -> bool:
    shape, layout = call.walker.shapes[source], call.layout_of(source)
    places = in_memory(index.reshape(-1), (shape, layout), ((index.size,), LAYOUTS["features"])).reshape(
        index.shape
    )
    steps = [np.diff(places, axis=axis).reshape(-1) for axis in range(3)]
    return all(step.size == 0 or bool((step == step[0]).all()) for step in steps)


@aten("scaled_dot_product_attention.default", kinds=("matmul", "softmax"))
def _attention(call: Call) -> None:
    """Translate to product, softmax and product; the factor of the scores is part of the first product."""
    if call.arguments.get("attn_mask") is not None or call.arguments.get("is_causal"):
        raise call.unsupported(
            "with a mask: attention here reads all steps; GRU, LSTM and causal convolutions read the earlier ones alone"
        )
    query, key, value = (_side(call, name) for name in ("query", "key", "value"))
    heads = query[1].shape[-3] if query[1].ndim > 2 else 1
    if call.arguments.get("enable_gqa") and key[1].ndim > 2 and key[1].shape[-3] != heads:
        key, value = (
            (source, np.repeat(index, heads // index.shape[-3], axis=-3)) for source, index in (key, value)
        )
    scale = call.arguments.get("scale")
    product(call, query, key, 1 / math.sqrt(query[1].shape[-1]) if scale is None else float(scale))
    call.arguments["scores"] = call.node
    rank = _held(call)[1].ndim
    tensor, channel, result = vectors(call, "scores", rank - 1)
    made = call.emit("softmax", (tensor,), {"axis": channel}, shape=call.walker.shapes[tensor])
    arranged(call, made, result)
    product(call, _held(call), (value[0], np.swapaxes(value[1], -1, -2)))


def _held(call: Call) -> Side:
    """Return this call's result so far."""
    value = call.walker.values[call.node]
    if isinstance(value, Moved):
        return value.source, value.index
    shape = call.walker.shapes[value]
    return value, np.arange(math.prod(shape)).reshape(shape)


@FLOAT.register("matmul")
def _run_matmul(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    a: Any = operator.attributes
    sides = []
    for name, x in zip(("first", "second"), inputs, strict=True):
        pattern = Pattern(tuple(a[f"{name}_sizes"]), tuple(a[f"{name}_strides"]), a[f"{name}_offset"])
        index = torch.from_numpy(pattern.index())
        sides.append(x.flatten(1)[:, index].reshape(len(x), a["products"], -1, a["inner"]))
    made: Tensor = a["factor"] * sides[0] @ sides[1].transpose(2, 3)
    return made.transpose(1, 2).reshape(len(made), *graph.shapes[operator.output])


@MACS.register("matmul")
def _macs(graph: Graph, operator: Operator) -> int:
    return graph.elements(operator.output) * int(operator.attributes["inner"])
