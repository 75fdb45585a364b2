"""Operators that copy elements to other places: views that move bytes, slices, padding, upsampling.

A call's effect follows from the call itself: it runs on the numbers of its input's elements.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Moved
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.operators import Graph, Operator
from sparsemod.layouts import RANKS, Shape, layout
from sparsemod.patterns import OUTSIDE, Index, Pattern, by_axis, in_memory, pattern_of


@aten(
    "slice.Tensor", "select.int", "narrow.default", "index_select.default", "flip.default", "roll.default", "split.Tensor",
    "split_with_sizes.default", "chunk.default", "unbind.int", "expand.default", "repeat.default", "repeat_interleave.self_int",
    "tile.default", "movedim.int", "movedim.intlist", "swapaxes.default", "unflatten.int", "pixel_shuffle.default",
    "pixel_unshuffle.default", "channel_shuffle.default", "native_channel_shuffle.default", "upsample_nearest1d.default",
    "upsample_nearest1d.vec", "upsample_nearest2d.default", "upsample_nearest2d.vec", "_upsample_nearest_exact1d.default",
    "_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.default", "_upsample_nearest_exact2d.vec",
    "reflection_pad1d.default", "reflection_pad2d.default", "replication_pad1d.default", "replication_pad2d.default",
    "index.Tensor", "T.default", "permute_copy.default",
    kinds=("move", "take"),
)  # fmt: skip
def moved(call: Call) -> None:
    """Translate a call that only copies elements of its first argument."""
    given: Any = call.arguments.get("self", call.arguments.get("input"))
    value = call.walker.values[given] if isinstance(given, Node) else None
    axis = value.batch if isinstance(value, Moved) else 0
    source, index = (value.source, value.index) if isinstance(value, Moved) else call.source(given)
    lazy = value.lazy if isinstance(value, Moved) else _stays_view(call, source)
    if any(returned.alias_info is not None for returned in call.node.target._schema.returns):  # type: ignore[union-attr]
        call.walker.storage[call.node] = call.walker.storage[given]
    results, axes = _applied(call, source, index, axis)
    if any(axes):
        made = tuple(Moved(source, each, True, place) for each, place in zip(results, axes, strict=True))
        several = isinstance(call.node.meta["val"], tuple | list)
        call.walker.values[call.node] = made if several else made[0]
        return
    if (
        isinstance(value, Moved)
        and not axis
        and lazy
        and not all(_placeable(call, source, made) for made in results)
    ):
        # Two simple copies, where one would have no regular order.
        call.tensor_of(given)
        source, index = call.source(given)
        (results, _), lazy = _applied(call, source, index, 0), False
    if isinstance(call.node.meta["val"], tuple | list):
        call.walker.values[call.node] = tuple(place(call, source, made, lazy=lazy) for made in results)
        return
    place(call, source, results[0], lazy=lazy)


def _stays_view(call: Call, source: str) -> bool:
    """Whether the result is a view until a call needs it as a tensor: of a sequence of features, or an image with its axes permuted."""
    permuted = call.operator.startswith(("permute", "movedim")) and len(call.walker.shapes[source]) == 3
    return permuted or call.layout_of(source).name == "time-features"


def _applied(call: Call, source: str, index: Index, axis: int) -> tuple[list[Index], list[int]]:
    """Run the call on the numbers of its input's elements; each sample has its own numbers, so that no call mixes samples.

    `axis` is the batch axis of the input. Returns the elements of one sample, and the batch axis of each result.
    """
    count = math.prod(call.walker.shapes[source])
    batch = call.node.all_input_nodes[0].meta["val"].shape[axis]
    numbers = np.ascontiguousarray(np.stack([index + sample * count for sample in range(batch)], axis))
    given = torch.from_numpy(numbers).double()  # upsampling and padding need floats; whole numbers stay exact

    def argument(node: Node) -> Any:
        value = call.walker.values[node]
        return value.tensor if hasattr(value, "tensor") and not isinstance(value, Moved) else given

    args, kwargs = map_arg(call.node.args, argument), map_arg(call.node.kwargs, argument)
    with torch.no_grad():
        made = call.node.target(*args, **kwargs)  # type: ignore[operator]
    found, axes = [], []
    for part in made if isinstance(made, tuple | list) else [made]:
        whole = part.round().long().numpy()
        place_of = next(
            (i for i in range(whole.ndim) if whole.ndim > 1 and _separate(whole, i, batch, count)), None
        )
        if place_of is None:
            raise call.unsupported("it must keep the batch axis first and unchanged")
        found.append(np.ascontiguousarray(np.take(whole, 0, place_of).astype(np.int64)))
        axes.append(place_of)
    return found, axes


def _separate(whole: Index, axis: int, batch: int, count: int) -> bool:
    """Whether `axis` holds the samples, each with its own numbers."""
    if whole.shape[axis] != batch:
        return False
    first = np.take(whole, 0, axis)
    return all(
        np.array_equal(first + sample * count, np.take(whole, sample, axis)) for sample in range(batch)
    )


def place(call: Call, source: str, index: Index, fill: str = "zero", *, lazy: bool = False) -> Any:
    """Make the elements `index` of a tensor this call's result, with an operator where bytes move, and return the value.

    `fill` is the value of the elements OUTSIDE: "zero", or "lowest", which is below every value. A result with more axes than tensors
    have stays an index until a later call gives it another shape; so does a `lazy` one until a call needs its elements as a tensor.
    """
    shape = tuple(int(size) for size in index.shape)
    value: Any
    given = call.walker.shapes[source]
    flat = index.reshape(-1)
    if lazy and shape == given and np.array_equal(flat, np.arange(len(flat))):
        call.walker.values[call.node] = source
        return source
    if len(shape) not in RANKS or (lazy and not (flat == OUTSIDE).any()):
        value = call.walker.values[call.node] = Moved(source, index, lazy)
        return value
    if len(flat) == math.prod(given) and np.array_equal(flat, np.arange(len(flat))):
        return _viewed(call, source, shape)
    axes = call.layout_of(source)
    kept = axes.name if axes.rank == len(shape) else None
    pattern = None if (flat == OUTSIDE).any() else pattern_of(flat)
    if pattern is not None and _copyable(flat, given, axes, shape, kept):
        attributes: dict[str, Any] = {
            "sizes": pattern.sizes, "strides": pattern.strides, "offset": pattern.offset,
        }  # fmt: skip
        return call.emit("move", (source,), attributes, shape=shape, layout=kept, named=False)
    places = by_axis(index, given)
    if places is None:
        raise call.unsupported("it copies elements in no regular order")
    attributes = {"places": places, "fill": fill}
    return call.emit("take", (source,), attributes, shape=shape, layout=kept, named=False)


def _placeable(call: Call, source: str, index: Index) -> bool:
    """Whether one operator can copy these elements; True for results with more axes than tensors have."""
    shape = tuple(int(size) for size in index.shape)
    if len(shape) not in RANKS:
        return True
    given, axes, flat = call.walker.shapes[source], call.layout_of(source), index.reshape(-1)
    kept = axes.name if axes.rank == len(shape) else None
    pattern = None if (flat == OUTSIDE).any() else pattern_of(flat)
    if pattern is not None and _copyable(flat, given, axes, shape, kept):
        return True
    return by_axis(index, given) is not None


def _copyable(flat: Index, given: Shape, axes: Any, shape: Shape, kept: str | None) -> bool:
    """Whether the elements follow a pattern in the order of C's memory as well."""
    return pattern_of(in_memory(flat, (given, axes), (shape, layout(kept, shape)))) is not None


def _viewed(call: Call, source: str, shape: Shape) -> str:
    """Give the same elements in the same order other axes."""
    if shape == call.walker.shapes[source]:
        call.walker.values[call.node] = source
        return source
    if len(shape) == 1:
        return call.emit("flatten", (source,), shape=shape)
    return call.emit("reshape", (source,), {"shape": shape}, layout=None, named=False, shape=shape)


def padded(call: Call, sizes: list[int], fill: str = "zero") -> None:
    """Pad the last axes of argument `self` by (before, after), the last axis first; negative sizes crop."""
    source, index = call.source(call.arguments.get("self", call.arguments.get("input")))
    given = torch.from_numpy(index).double()
    place(
        call, source, torch.nn.functional.pad(given, sizes, value=float(OUTSIDE)).round().long().numpy(), fill
    )


def halves(call: Call, axis: int) -> tuple[str, str]:
    """Return the two halves of argument `self` along an axis, counted with batch."""
    source, index = call.source(call["self"])
    if axis % (index.ndim + 1) == 0:
        raise call.unsupported("along the batch axis")
    sides = np.split(index, 2, axis % (index.ndim + 1) - 1)
    first, second = (place(call, source, np.ascontiguousarray(side)) for side in sides)
    return str(first), str(second)


@FLOAT.register("move")
def _run_move(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    a = operator.attributes
    index = torch.from_numpy(Pattern(tuple(a["sizes"]), tuple(a["strides"]), a["offset"]).index())
    return inputs[0].flatten(1)[:, index].reshape(-1, *graph.shapes[operator.output])


@FLOAT.register("take")
def _run_take(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    fill = 0.0 if operator.attributes["fill"] == "zero" else torch.finfo(x.dtype).min
    for axis, places in enumerate(operator.attributes["places"]):
        if places:
            chosen = torch.tensor(places)
            x = x.index_select(axis + 1, chosen.clamp_min(0))
            x = x.masked_fill(
                (chosen == OUTSIDE).reshape([-1 if i == axis + 1 else 1 for i in range(x.ndim)]), fill
            )
    return x
