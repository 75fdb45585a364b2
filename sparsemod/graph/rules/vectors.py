"""Vectors along any axis of a tensor or a view: as the channels of a tensor, and the result back in the axes of the argument."""

from typing import Any

import numpy as np

from sparsemod.graph.call import Call, Moved
from sparsemod.layouts import LAYOUTS, layout
from sparsemod.patterns import Index, in_memory, pattern_of

ROWS = "time-features"
_VECTOR = LAYOUTS["features"]


def vectors(call: Call, name: str, axis: int, joined: int = 1) -> tuple[str, int, Index | None]:
    """Return (tensor, its channel axis, arrangement): the tensor's channels are the vectors along `axis` of argument `name`.

    `axis` counts without batch; `joined` axes from it on, the last ones, are one vector. The arrangement is for `arranged`: the number in
    the tensor of each element of the argument; None when they are the same. Without a free view, a copy precedes.

    Raises Unsupported when the copy has no regular order.
    """
    source, index = call.source(call.arguments[name])
    axes, shape = call.layout_of(source), call.walker.shapes[source]
    plain = index.shape == shape and np.array_equal(index.reshape(-1), np.arange(index.size))
    if plain and axis == axes.channel and joined == 1:
        return source, axis, None
    size = int(np.prod(index.shape[axis : axis + joined]))
    lines = np.moveaxis(index.reshape(*index.shape[:axis], size, *index.shape[axis + joined :]), axis, -1)
    rows = lines.reshape(-1, size)
    places = _in_memory(rows, shape, axes)
    made = None
    order = np.argsort(places[:, 0])  # row r of the tensor is line order[r]
    if np.array_equal(places[order].reshape(-1), np.arange(np.prod(shape))):
        if size == shape[axes.channel] and axes.channel == 0 and len(shape) > 1:
            return source, 0, index  # the vectors of channels of an image, with its axes in another order
        made = _reshaped(call, source, (len(rows), size))
    else:
        order = np.arange(len(rows))
    if made is None:
        made = _copied(call, source, rows[order])
    numbers = np.empty(rows.shape, np.int64)
    numbers[order] = np.arange(rows.size).reshape(rows.shape)
    channel = layout(call.walker.layouts.get(made), call.walker.shapes[made]).channel
    return made, channel, _restored(numbers, lines.shape, index.shape, axis, joined)


def _restored(
    numbers: Index, lines: tuple[int, ...], shape: tuple[int, ...], axis: int, joined: int
) -> Index:
    """Return the numbers of the rows' elements in the axes of the argument."""
    return np.ascontiguousarray(np.moveaxis(numbers.reshape(lines), -1, axis)).reshape(shape)


def _in_memory(index: Index, shape: tuple[int, ...], axes: Any) -> Index:
    return in_memory(index.reshape(-1), (shape, axes), ((index.size,), _VECTOR)).reshape(index.shape)


def _reshaped(call: Call, source: str, shape: tuple[int, int]) -> str | None:
    """Return the source as rows of vectors, which are its bytes in their order; None when the source is an image."""
    given = call.walker.shapes[source]
    if call.layout_of(source).channel == 0 and len(given) > 1:
        return None
    if given == shape or (shape[0] == 1 and given == shape[1:]):
        return source
    wanted = shape[1:] if shape[0] == 1 else shape
    kind = "flatten" if len(wanted) == 1 else "reshape"
    attributes = {} if kind == "flatten" else {"shape": wanted}
    return call.emit(
        kind, (source,), attributes, shape=wanted, layout=ROWS if len(wanted) == 2 else None, named=False
    )


def _copied(call: Call, source: str, rows: Index) -> str:
    """Append a copy of the elements, one vector after another."""
    given, axes = call.walker.shapes[source], call.layout_of(source)
    wanted = rows.shape[1:] if len(rows) == 1 else rows.shape
    made = LAYOUTS[ROWS] if len(wanted) == 2 else _VECTOR
    pattern = pattern_of(rows.reshape(-1))
    if pattern is None or pattern_of(in_memory(rows.reshape(-1), (given, axes), (wanted, made))) is None:
        raise call.unsupported("its vectors lie in no regular order")
    attributes = {"sizes": pattern.sizes, "strides": pattern.strides, "offset": pattern.offset}
    return call.emit("move", (source,), attributes, shape=wanted, layout=made.name, named=False)


def arranged(call: Call, tensor: str, result: Index | None) -> None:
    """Make the tensor's elements, in the arrangement that `vectors` returned, this call's result."""
    if result is None:
        call.walker.values[call.node] = tensor
        return
    same = result.shape == call.walker.shapes[tensor]
    same = same and np.array_equal(result.reshape(-1), np.arange(result.size))
    call.walker.values[call.node] = tensor if same else Moved(tensor, result, lazy=True)
    call.walker.storage[call.node] = call.node
