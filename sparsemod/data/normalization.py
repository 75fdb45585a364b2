"""Samples as the network sees them: (value - offset) / scale, per channel, with constants from the training split alone."""

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
    """normalized = (raw - offset) / scale, with one value per channel, or per feature of vectors. `method` is how they were found; `layout`
    names the axes of samples where it is not the default one of their shape."""

    method: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    layout: str | None = None

    def apply(self, x: NDArray[Any]) -> Floats:
        """Raw samples (N, *shape) as normalized float32 of the same shape; images lie channels last in memory."""
        if x.ndim != 4:
            axes = [1] * (x.ndim - 1)
            axes[layout(self.layout, x.shape[1:]).channel] = -1
            low, step = (np.asarray(values).reshape(axes) for values in (self.offset, self.scale))
            return np.asarray((x - low) / step, dtype=np.float32)
        count, channels, height, width = x.shape
        out = np.empty((count, height, width, channels), np.float32).transpose(0, 3, 1, 2)
        for channel, (offset, scale) in enumerate(zip(self.offset, self.scale, strict=True)):
            if x.dtype == np.uint8:
                # 256 possible values: a table look-up is several times faster than arithmetic on wide copies.
                table = ((np.arange(256, dtype=np.float64) - offset) / scale).astype(np.float32)
                out[:, channel] = table[x[:, channel]]
            else:
                # In float64 whatever the samples are: the C code of an exported network computes the same numbers.
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


METHODS: dict[str, Callable[[NDArray[Any], Axes], Constants]] = {
    "standard": _standard,  # mean 0, standard deviation 1
    "symmetric": _symmetric,  # the training split's range becomes [-1, 1]
    "unit": _unit,  # the training split's range becomes [0, 1]
}


def fit(method: str, train: NDArray[Any], layout_name: str | None = None) -> Normalization:
    """The constants of `method` ("standard", "symmetric" or "unit") for these training samples.

    A channel whose values all lie within float32's resolution at their magnitude is constant: its scale is 1, its offset its smallest
    value. Networks read float32, so that smaller differences are rounding, whatever the samples' own type. Raises UnknownName.
    """
    if method not in METHODS:
        raise UnknownName("dataset.options.normalization", method, METHODS)
    stated = None if layout_name == default_layout(train.shape[1:]) else layout_name
    # Over the samples and their positions: what is left are the channels.
    axes = (0, *(axis + 1 for axis in layout(layout_name, train.shape[1:]).positions))
    offset, scale = METHODS[method](train, axes)
    low, high = train.min(axis=axes).astype(np.float64), train.max(axis=axes).astype(np.float64)
    constant = high - low <= _RESOLUTION * np.maximum(np.abs(low), np.abs(high))
    offset, scale = np.where(constant, low, offset), np.where(constant, 1.0, scale)
    return Normalization(method, tuple(offset.tolist()), tuple(scale.tolist()), stated)
