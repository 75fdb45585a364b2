"""Operators that only copy elements, as functions of a tensor with a batch axis; axes are counted without it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.errors import InvalidInput
from sparsemod.layouts import Shape
from sparsemod.patterns import OUTSIDE


def _flatten(x: Tensor) -> Tensor:
    return x.flatten(1)


def _reshape(x: Tensor, shape: Shape) -> Tensor:
    return x.flatten(1) if len(shape) == 1 else x.reshape(x.shape[0], *shape)


def _transpose(x: Tensor, order: Shape) -> Tensor:
    return x.permute(0, *(axis + 1 for axis in order))


def _slice(x: Tensor, axis: int, start: int, stop: int, step: int) -> Tensor:
    if step < 0:
        return x.index_select(axis + 1, torch.arange(start, stop, step, device=x.device))
    return x[(slice(None),) * (axis + 1) + (slice(start, stop, step),)]


def _take(x: Tensor, axis: int, places: tuple[int, ...]) -> Tensor:
    return x.index_select(axis + 1, torch.tensor(places, device=x.device))


def _pad(x: Tensor, amounts: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pad by (before, after) of each axis, the first axis first."""
    reverse = [amounts[2 * axis + side] for axis in reversed(range(len(amounts) // 2)) for side in (0, 1)]
    if mode == "constant":
        return functional.pad(x, reverse, value=value)
    while len(reverse) > 2 and reverse[-2:] == [0, 0]:
        reverse = reverse[:-2]
    return functional.pad(x, reverse, mode=mode)


def _depth_to_space(x: Tensor, block: int, columns_first: bool) -> Tensor:
    """Move channels to positions; `columns_first`: channel = (place in the block) x channels + channel."""
    if not columns_first:
        return functional.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, h * block, w * block)


def _space_to_depth(x: Tensor, block: int) -> Tensor:
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, h // block, w // block)


def _gather(x: Tensor, places: tuple[int, ...], shape: Shape) -> Tensor:
    """Take elements by number; OUTSIDE is zero."""
    flat = functional.pad(x.flatten(1), [0, 1])
    return flat.index_select(1, torch.tensor(places) % flat.shape[1]).reshape(x.shape[0], *shape)


VIEWS: Mapping[str, Callable[..., Tensor]] = {
    "flatten": _flatten,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "take": _take,
    "pad": _pad,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "gather": _gather,
}


def view(x: Tensor, operator: str, arguments: Mapping[str, Any]) -> Tensor:
    """Apply a view to a tensor with a batch axis. Raises InvalidInput for an unknown operator."""
    if operator not in VIEWS:
        raise InvalidInput("view", operator, f"one of {', '.join(VIEWS)}")
    return VIEWS[operator](x, **arguments)


def moved(index: Tensor, operator: str, arguments: Mapping[str, Any]) -> tuple[Tensor, str | None]:
    """Apply a view to the numbers of elements (1, *shape, floats), and return them with the value of padding.

    The value is "zero", "lowest", or None where nothing was padded.
    """
    if operator == "pad" and arguments.get("mode", "constant") == "constant" and any(arguments["amounts"]):
        value = arguments.get("value", 0.0)
        if value and value > -1e30:
            raise InvalidInput("padding value", value, "0, or the lowest number")
        return view(index, "pad", {"amounts": arguments["amounts"], "value": float(OUTSIDE)}), (
            "lowest" if value else "zero"
        )
    if operator == "gather":
        shape, places = arguments["shape"], torch.tensor(arguments["places"])
        flat = functional.pad(index.flatten(1), [0, 1], value=float(OUTSIDE))
        made = flat.index_select(1, places % flat.shape[1]).reshape(1, *shape)
        return made, "zero" if bool((places == OUTSIDE).any()) else None
    return view(index, operator, arguments), None
