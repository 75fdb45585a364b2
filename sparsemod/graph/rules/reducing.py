"""Means, sums and maxima over some of the axes of each sample."""

import math

import torch

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.rules.pairs import emit_affine
from sparsemod.graph.rules.shaping import transposed
from sparsemod.layouts import TensorLayout


@aten(
    "mean.dim",
    "sum.dim_IntList",
    kinds=("global_avg_pool", "avg_pool", "conv", "linear", "affine", "reshape"),
)
def _mean(call: Call) -> None:
    tensor, layout = call.tensor("self"), call.layout("self")
    axes = _axes(call, layout)
    shape = call.shape("self")
    count = math.prod(shape[axis] for axis in axes)
    keep = bool(call["keepdim"])
    if axes == list(layout.positions) and layout.channel == 0:
        tensor = call.emit("global_avg_pool", (tensor,), {"keep": keep}, shape=_made(shape, axes, keep))
    else:
        tensor = _by_steps(call, tensor, axes)
        _dropped(call, tensor, axes, keep)
        tensor = call.walker.values[call.node]
    if call.operator == "sum":
        times = torch.full((call.walker.shapes[tensor][call.layout_of(tensor).channel],), float(count))
        call.emit(
            "affine", (tensor,), {"uniform": (float(count), 0.0)}, Constant(times), Constant(torch.zeros_like(times)),
            shape=call.walker.shapes[tensor],
        )  # fmt: skip


def _axes(call: Call, layout: TensorLayout) -> list[int]:
    """Return the axes of the reduction, counted without batch. Raises Unsupported for the batch."""
    rank = layout.rank + 1
    given = call["dim"]
    named = [given] if isinstance(given, int) else list(given or range(rank))
    axes = sorted(axis % rank for axis in named)
    if 0 in axes:
        raise call.unsupported("over the batch axis")
    return [axis - 1 for axis in axes]


def _by_steps(call: Call, tensor: str, axes: list[int]) -> str:
    """Append the mean over positions, then over channels; every mean keeps its axis with size 1."""
    layout, shape = call.layout_of(tensor), call.walker.shapes[tensor]
    flipped = layout.channel != 0
    if flipped:
        tensor = transposed(call, tensor)
        axes = sorted(1 - axis for axis in axes)
        layout, shape = call.layout_of(tensor), call.walker.shapes[tensor]
    along = [axis for axis in axes if axis in layout.positions]
    if along and all(shape[axis] == 1 for axis in layout.positions if axis not in along):
        along = list(layout.positions)
    if along and along == list(layout.positions):
        tensor = call.emit("global_avg_pool", (tensor,), {"keep": True}, shape=_made(shape, along, True))
    elif along:
        tensor = _window(call, "avg_pool", tensor, along)
    if layout.channel in axes:
        tensor = _over_channels(call, tensor)
    return transposed(call, tensor) if flipped else tensor


def _over_channels(call: Call, tensor: str) -> str:
    """Append the mean over channels: one filter of equal weights."""
    shape = call.walker.shapes[tensor]
    if len(shape) == 1:
        weight = torch.full((1, shape[0]), 1 / shape[0])
        return call.emit("linear", (tensor,), {"parameter": None}, Constant(weight), shape=(1,))
    weight = torch.full((1, shape[0], *(1,) * (len(shape) - 1)), 1 / shape[0])
    attributes = {
        "kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1, "parameter": None,
    }  # fmt: skip
    return call.emit("conv", (tensor,), attributes, Constant(weight), shape=(1, *shape[1:]))


def _window(call: Call, kind: str, tensor: str, axes: list[int]) -> str:
    """Append a pool with one window over the whole of the position axes `axes`."""
    layout, shape = call.layout_of(tensor), call.walker.shapes[tensor]
    sizes = [shape[axis] if axis in axes else 1 for axis in layout.positions]
    kernel = (1, *sizes)[-2:]
    more = {"dilation": (1, 1)} if kind == "max_pool" else {"count_include_pad": True}
    return call.emit(
        kind, (tensor,), {"kernel": kernel, "stride": kernel, "padding": (0, 0, 0, 0), "ceil_mode": False, **more},
        shape=_made(shape, axes, True),
    )  # fmt: skip


def _made(shape: tuple[int, ...], axes: list[int], keep: bool) -> tuple[int, ...]:
    if keep:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _dropped(call: Call, tensor: str, axes: list[int], keep: bool) -> None:
    """Drop the axes of size 1 that a reduction left, unless the call keeps them."""
    call.walker.values[call.node] = tensor
    shape = call.walker.shapes[tensor]
    made = _made(shape, axes, keep)
    if not made:
        raise call.unsupported("it leaves one number for each sample, without an axis; use keepdim=True")
    if made == shape:
        return
    if len(made) == 1:
        call.emit("flatten", (tensor,), shape=made)
    else:
        call.emit("reshape", (tensor,), {"shape": made}, shape=made, layout=None, named=False)


@aten("amin.default", "min.dim", kinds=("affine", "max_pool", "reshape"))
def _min(call: Call) -> None:
    """Translate to the maximum of the negated tensor, negated."""
    emit_affine(call, call.tensor("self"), -1.0, 0.0)
    call.arguments["self"] = call.walker.values[call.node]
    _max(call)
    made = call.walker.values[call.node]
    emit_affine(call, made[0] if isinstance(made, tuple) else made, -1.0, 0.0)
    if isinstance(made, tuple):
        call.walker.values[call.node] = (call.walker.values[call.node], None)


@aten("amax.default", "max.dim", kinds=("max_pool", "reshape"))
def _max(call: Call) -> None:
    tensor, layout = call.tensor("self"), call.layout("self")
    axes, keep = _axes(call, layout), bool(call["keepdim"])
    if layout.channel in axes:
        _max_of_channels(call, tensor, axes, keep)
        return
    flipped = layout.channel != 0
    if flipped:
        tensor, swapped = transposed(call, tensor), sorted(1 - axis for axis in axes)
    else:
        swapped = axes
    tensor = _window(call, "max_pool", tensor, swapped)
    if flipped:
        tensor = transposed(call, tensor)
    _dropped(call, tensor, axes, keep)
    if isinstance(call.node.meta["val"], tuple | list):
        call.walker.values[call.node] = (call.walker.values[call.node], None)


def _max_of_channels(call: Call, tensor: str, axes: list[int], keep: bool) -> None:
    """Append the maximum over channels alone: of a copy whose positions are the channels, and whose channels are the positions."""
    layout, shape = call.layout_of(tensor), call.walker.shapes[tensor]
    if axes != [layout.channel]:
        raise call.unsupported("over the channels and other axes")
    channels, positions = shape[layout.channel], math.prod(shape) // shape[layout.channel]
    if layout.channel != 0:
        raise call.unsupported(f"over the channels of layout {layout.name}")
    attributes = {"sizes": (positions, channels), "strides": (1, positions), "offset": 0}
    turned = call.emit("move", (tensor,), attributes, shape=(positions, channels), layout=None, named=False)
    pooled = _window(call, "max_pool", turned, [1])
    made = _made(shape, axes, True)
    call.emit("reshape", (pooled,), {"shape": made}, shape=made, layout=None, named=False)
    _dropped(call, call.walker.values[call.node], axes, keep)
    if isinstance(call.node.meta["val"], tuple | list):
        call.walker.values[call.node] = (call.walker.values[call.node], None)
