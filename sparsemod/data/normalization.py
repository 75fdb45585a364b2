"""Normalization of samples: (value - offset) / scale per channel, with constants of the training split."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import UnknownName
from sparsemod.layouts import default_layout, layout

Floats = NDArray[np.float32]

_RESOLUTION = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Normalization:
    """normalized = (raw - offset) / scale, with one value per channel, or per feature of vectors.

    `method` is the method that computed the constants. `layout` names the axes of samples if it is not the
    default for their shape.
    """

    method: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    layout: str | None = None

    def apply(self, x: NDArray[Any]) -> Floats:
        """Normalize raw samples (N, *shape) to float32 of equal shape; images are channels last in memory."""
        if x.ndim != 4:
            axes = [1] * (x.ndim - 1)
            axes[layout(self.layout, x.shape[1:]).channel] = -1
            low, step = (np.asarray(values).reshape(axes) for values in (self.offset, self.scale))
            return np.asarray((x - low) / step, dtype=np.float32)
        count, channels, height, width = x.shape
        out = np.empty((count, height, width, channels), np.float32).transpose(0, 3, 1, 2)
        for channel, (offset, scale) in enumerate(zip(self.offset, self.scale, strict=True)):
            if x.dtype == np.uint8:
                # uint8 has 256 values: a table look-up is several times faster than arithmetic on float64
                # copies.
                table = ((np.arange(256, dtype=np.float64) - offset) / scale).astype(np.float32)
                out[:, channel] = table[x[:, channel]]
            else:
                # Compute in float64 for every sample type: the C code of an exported network computes the
                # same numbers.
                out[:, channel] = (x[:, channel].astype(np.float64) - offset) / scale
        return out


Constants = tuple[NDArray[np.float64], NDArray[np.float64]]
Axes = tuple[int, ...]


def _standard(x: NDArray[Any], axes: Axes) -> Constants:
    if x.dtype == np.uint8 and x.ndim == 4:
        values = np.arange(256, dtype=np.float64)
        counts = np.stack(
            [np.bincount(x[:, channel].reshape(-1), minlength=256) for channel in range(x.shape[1])]
        )
        total = counts.sum(axis=1)
        mean = counts @ values / total
        deviation = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(axis=1) / total)
    else:
        mean = x.mean(axis=axes, dtype=np.float64)
        deviation = x.std(axis=axes, dtype=np.float64)
    return mean, deviation


def _symmetric(x: NDArray[Any], axes: Axes) -> Constants:
    low, high = x.min(axis=axes).astype(np.float64), x.max(axis=axes).astype(np.float64)
    return (low + high) / 2, (high - low) / 2


def _unit(x: NDArray[Any], axes: Axes) -> Constants:
    low, high = x.min(axis=axes).astype(np.float64), x.max(axis=axes).astype(np.float64)
    return low, high - low


def _none(x: NDArray[Any], axes: Axes) -> Constants:
    channels = np.empty([size for axis, size in enumerate(x.shape) if axis not in axes])
    return np.zeros_like(channels), np.ones_like(channels)


METHODS: dict[str, Callable[[NDArray[Any], Axes], Constants]] = {
    "standard": _standard,  # mean 0, standard deviation 1
    "symmetric": _symmetric,  # the training split's range becomes [-1, 1]
    "unit": _unit,  # the training split's range becomes [0, 1]
    "none": _none,  # samples are as the network reads them
}


def fit(
    method: str, train: NDArray[Any], layout_name: str | None = None, lengths: NDArray[Any] | None = None
) -> Normalization:
    """Compute the constants of `method` ("standard", "symmetric", "unit" or "none") from training samples.

    A channel counts as constant when its range is within float32's resolution at its magnitude; it gets scale
    1 and its smallest value as offset. Networks read float32, so smaller differences are rounding errors for
    any sample type. `lengths` (N,): the valid steps of each sequence; others do not count. Raises UnknownName.
    """
    if method not in METHODS:
        raise UnknownName("dataset.options.normalization", method, METHODS)
    stated = None if layout_name == default_layout(train.shape[1:]) else layout_name
    # Reduce over samples and positions; the channels remain.
    axes = (0, *(axis + 1 for axis in layout(layout_name, train.shape[1:]).positions))
    if lengths is not None:
        # Valid steps as samples (steps, channels).
        steps_first = np.moveaxis(train, axes[1], 1)
        train, axes = steps_first[valid_steps(lengths, steps_first.shape[1])], (0,)
    offset, scale = METHODS[method](train, axes)
    if method == "none":
        return Normalization(method, tuple(offset.tolist()), tuple(scale.tolist()), stated)
    low, high = train.min(axis=axes).astype(np.float64), train.max(axis=axes).astype(np.float64)
    constant = high - low <= _RESOLUTION * np.maximum(np.abs(low), np.abs(high))
    offset, scale = np.where(constant, low, offset), np.where(constant, 1.0, scale)
    return Normalization(method, tuple(offset.tolist()), tuple(scale.tolist()), stated)


def valid_steps(lengths: NDArray[Any], steps: int) -> NDArray[np.bool_]:
    """Return which of `steps` steps are valid, (N, steps), for sequences with `lengths` (N,) valid steps."""
    return np.asarray(np.arange(steps) < np.asarray(lengths)[:, None])
