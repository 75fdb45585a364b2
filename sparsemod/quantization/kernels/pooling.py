"""Pooling in integer arithmetic."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.quantization.arithmetic import INT8_MIN, Int8, requantize
from sparsemod.quantization.kernels.base import KERNELS, Array, clamp_to, image, like, windows_of
from sparsemod.quantization.layers.pooling import AvgPool, GlobalAvgPool, MaxPool, Pool


def _pool_windows(layer: Pool, x: Array, fill: int, kind: Any) -> Array:
    """Return windows over `x` padded with `fill`, including the positions that `ceil` adds beyond the stated padding."""
    channels, height, width, batch = x.shape
    rows, columns = layer.window.counts((height, width))
    (top, _, left, _), (ky, kx), (sy, sx), (dy, dx) = (
        layer.padding,
        layer.kernel,
        layer.stride,
        layer.dilation,
    )
    tall = max(top + height, (rows - 1) * sy + dy * (ky - 1) + 1)
    wide = max(left + width, (columns - 1) * sx + dx * (kx - 1) + 1)
    padded = np.full((channels, tall, wide, batch), fill, kind)
    padded[:, top : top + height, left : left + width] = x
    return windows_of(padded, layer.kernel, layer.stride, layer.dilation, rows, columns)


@KERNELS.register("max_pool")
def _max_pool(pool: MaxPool, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    windows = _pool_windows(pool, image(inputs[0]), INT8_MIN, np.int8)
    result: Int8 = np.full((len(windows), *windows.shape[3:]), INT8_MIN, np.int8)
    for u in range(pool.kernel[0]):
        for v in range(pool.kernel[1]):
            np.maximum(result, windows[:, u, v], out=result)
    return like(result, inputs[0])


@KERNELS.register("avg_pool")
def _avg_pool(pool: AvgPool, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x, zero = image(inputs[0]), points[0]
    windows = _pool_windows(pool, x, 0, np.int32)
    acc = np.zeros((len(windows), *windows.shape[3:]), np.int32)
    for u in range(pool.kernel[0]):
        for v in range(pool.kernel[1]):
            acc += windows[:, u, v]
    inside, counted = pool_counts(pool, x.shape[1], x.shape[2])
    acc += (zero * (counted - inside))[None, :, :, None]
    count = counted[None, :, :, None]
    # to nearest, halves away from zero
    result = np.sign(acc) * ((np.abs(acc) + count // 2) // count)
    return like(np.asarray(result, dtype=np.int8), inputs[0])


def pool_counts(pool: AvgPool, height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (positions inside the input, positions that the mean counts) of each output (rows, columns)."""
    rows, columns = pool.window.counts((height, width))
    counts = []
    for padded in (False, True):
        spans = [
            np.array([_span(pool, axis, index, size, padded) for index in range(count)])
            for axis, (count, size) in enumerate(((rows, height), (columns, width)))
        ]
        counts.append(np.outer(spans[0], spans[1]).astype(np.int32))
    inside, with_padding = counts
    return inside, with_padding if pool.count_padding else inside


def _span(pool: AvgPool, axis: int, index: int, size: int, padded: bool) -> int:
    before, after = pool.padding[2 * axis : 2 * axis + 2]
    first = index * pool.stride[axis] - before
    last = min(first + pool.kernel[axis], size + (after if padded else 0))
    return last - (first if padded else max(first, 0))


@KERNELS.register("global_avg_pool")
def _global_avg_pool(pool: GlobalAvgPool, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x = image(inputs[0])
    acc = x.astype(np.int64).sum(axis=(1, 2)) - points[0] * x.shape[1] * x.shape[2]
    result = clamp_to(requantize(acc, pool.multiplier, pool.shift), -128, 127, zero_out)
    return like(result[:, None, None, :], inputs[0]) if pool.keep else result
