"""Helpers of the integer kernels. Arrays are (shape, N): the batch is the innermost axis.

With the batch last, windows are gathered in contiguous runs, and one matrix product computes a whole layer. Matrix products use float
BLAS: while every partial sum stays below 2^24 (float32) or 2^53 (float64) in absolute value, sums of integer products are exact in any
order. The bound is computed from the layer's weights. All other arithmetic is int64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sparsemod.kinds import Stage
from sparsemod.layouts import layout
from sparsemod.quantization.arithmetic import Int8, Int64
from sparsemod.quantization.layers.base import Weighted

Array = NDArray[Any]
Kernel = Callable[..., Int8]

KERNELS: Stage[Kernel] = Stage(
    "the integer interpreter", builtin=("sparsemod.quantization.kernels @KERNELS",)
)
"""Kernels by kind of layer: (layer, inputs, the inputs' zero points, the output's zero point) -> output, exactly as the layer defines."""


def image(x: Array) -> Array:
    """Return a tensor with positions as an image (C, H, W, N)."""
    return x.reshape(*layout(None, x.shape[:-1]).image(x.shape[:-1]), x.shape[-1])


def like(result: Array, source: Array) -> Array:
    """Return an image with the axes of `source`: without rows when `source` is a sequence."""
    return result if source.ndim == 4 else result.reshape(len(result), -1, result.shape[-1])


def exact(layer: Weighted) -> Any:
    """Return the float type in which the layer's sums are exact."""
    return np.float32 if layer.largest() < 2**24 else np.float64


def finish(layer: Weighted, acc: Array, zero_out: int) -> Int8:
    """Apply bias, requantization and clamp to (O, ..., N) sums without bias."""
    per_channel = (-1, *(1,) * (acc.ndim - 1))
    multiplier = layer.multiplier.astype(np.int64)
    shift = 31 - layer.shift.astype(np.int64)
    # (acc + bias) m + rounding, with the constant part computed once per channel
    constant = layer.bias.astype(np.int64) * multiplier + (np.int64(1) << (shift - 1))
    result: Int64 = acc.astype(np.int64)
    result *= multiplier.reshape(per_channel)
    result += constant.reshape(per_channel)
    result >>= shift.reshape(per_channel)
    return clamp_to(result, layer.low, layer.high, zero_out)


def clamp_to(values: Array, low: int, high: int, zero_out: int) -> Int8:
    """Return `values` plus the zero point as int8, clamped to the activation's range. Overwrites `values`."""
    np.clip(values, low - zero_out, high - zero_out, out=values)
    values += zero_out
    return values.astype(np.int8)


def windows_of(
    padded: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    rows: int,
    columns: int,
) -> Array:
    """Return a view (C, kernel y, kernel x, rows, columns, N) of (C, H, W, N)."""
    c, y, x, n = padded.strides
    shape = (padded.shape[0], kernel[0], kernel[1], rows, columns, padded.shape[3])
    return as_strided(
        padded, shape, (c, y * dilation[0], x * dilation[1], y * stride[0], x * stride[1], n), writeable=False
    )


def scaled(x: Int8, point: int, multiplier: int) -> NDArray[np.int32]:
    """Return (q - zero point) x multiplier, in 32 bits."""
    scaled = x.astype(np.int32)
    scaled -= point
    scaled *= multiplier
    return scaled


def rounded(acc: NDArray[np.int32], shift: int) -> NDArray[np.int32]:
    """Divide `acc` by 2^shift in place, rounded to nearest, halves upwards."""
    acc += 1 << (shift - 1)
    acc >>= shift
    return acc
