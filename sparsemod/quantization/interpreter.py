"""Runs integer networks: every result is the exact integer that `sparsemod.quantization.layers` defines.

The batch is the innermost axis (C, H, W, N), so that windows are gathered in contiguous runs and one matrix
product serves a whole layer. Matrix products go through float BLAS: with every partial sum below 2^24
(float32) or 2^53 (float64) in absolute value, sums of integer products are exact in any order. The bound is
computed from the layer's own weights; the rest is int64.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sparsemod.quantization.arithmetic import INT8_MIN, Int8, Int64, requantize
from sparsemod.quantization.layers import (
    Add,
    AvgPool,
    Clamp,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Pool,
    Weighted,
)

if TYPE_CHECKING:
    from sparsemod.quantization.integer_network import IntegerNetwork

# elements of the largest buffer per chunk of the batch: about the size of a second-level cache
_CHUNK_ELEMENTS = 1 << 19
Array = NDArray[Any]


def run(network: "IntegerNetwork", images: Int8) -> Int8:
    """int8 (N, *input shape) to int8 (N, *output shape)."""
    chunk = max(8, min(256, _CHUNK_ELEMENTS // max(1, _largest_buffer(network))))
    output = np.empty((len(images), *network.tensors[network.output].shape), np.int8)
    for start in range(0, len(images), chunk):
        output[start : start + chunk] = np.moveaxis(_run_chunk(network, images[start : start + chunk]), -1, 0)
    return output


def trace(network: "IntegerNetwork", images: Int8) -> dict[str, Int8]:
    """Every tensor of the network, (N, *shape) each: what exporters compare layer by layer."""
    tensors: dict[str, Int8] = {}
    _run_chunk(network, images, tensors)
    return {name: np.ascontiguousarray(np.moveaxis(value, -1, 0)) for name, value in tensors.items()}


def _run_chunk(network: "IntegerNetwork", images: Int8, kept: dict[str, Int8] | None = None) -> Int8:
    live: dict[str, Int8] = {network.input: np.ascontiguousarray(np.moveaxis(images, 0, -1))}
    for layer in network.layers:
        inputs = [live[name] for name in layer.inputs]
        points = [network.tensors[name].zero_point for name in layer.inputs]
        live[layer.output] = _KERNELS[layer.kind](
            layer, inputs, points, network.tensors[layer.output].zero_point
        )
    if kept is not None:
        kept.update(live)
    return live[network.output]


def _largest_buffer(network: "IntegerNetwork") -> int:
    sizes = [int(np.prod(tensor.shape)) for tensor in network.tensors.values()]
    for layer in network.layers:
        if isinstance(layer, Conv) and not layer.depthwise:
            sizes.append(
                int(np.prod(network.tensors[layer.output].shape[1:])) * int(np.prod(layer.weight.shape[1:]))
            )
    return max(sizes)


def _exact(layer: Weighted) -> Any:
    return np.float32 if layer.largest() < 2**24 else np.float64


def _finish(layer: Weighted, acc: Array, zero_out: int) -> Int8:
    """Bias, requantization and clamp of (O, ..., N) sums without bias."""
    per_channel = (-1, *(1,) * (acc.ndim - 1))
    multiplier = layer.multiplier.astype(np.int64)
    shift = 31 - layer.shift.astype(np.int64)
    # (acc + bias) m + rounding, with the constant part computed once per channel
    constant = layer.bias.astype(np.int64) * multiplier + (np.int64(1) << (shift - 1))
    result: Int64 = acc.astype(np.int64)
    result *= multiplier.reshape(per_channel)
    result += constant.reshape(per_channel)
    result >>= shift.reshape(per_channel)
    return _clamp(result, layer.low, layer.high, zero_out)


def _clamp(values: Array, low: int, high: int, zero_out: int) -> Int8:
    np.clip(values, low - zero_out, high - zero_out, out=values)
    values += zero_out
    return values.astype(np.int8)


def _conv(layer: Conv, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    (x,), (zero,) = inputs, points
    channels, height, width, batch = x.shape
    top, bottom, left, right = layer.padding
    kind = _exact(layer)
    padded = np.zeros((channels, height + top + bottom, width + left + right, batch), kind)
    np.subtract(x, kind(zero), out=padded[:, top : top + height, left : left + width], dtype=kind)
    _, rows, columns = layer.shape((x.shape[:3],))
    windows = _windows(padded, layer.weight.shape[2:], layer.stride, layer.dilation, rows, columns)
    weight = layer.weight.astype(kind)
    acc = _depthwise(windows, weight) if layer.depthwise else _grouped(windows, weight, layer.groups)
    return _finish(layer, acc, zero_out)


def _grouped(windows: Array, weight: Array, groups: int) -> Array:
    outputs, taps = len(weight), int(np.prod(weight.shape[1:]))
    per_group, inputs = outputs // groups, weight.shape[1]
    place = windows.shape[3:]
    acc = np.empty((outputs, int(np.prod(place))), weight.dtype)
    for group in range(groups):
        columns = windows[group * inputs : (group + 1) * inputs].reshape(taps, -1)
        rows = slice(group * per_group, (group + 1) * per_group)
        np.matmul(weight[rows].reshape(per_group, taps), columns, out=acc[rows])
    return acc.reshape(outputs, *place)


def _depthwise(windows: Array, weight: Array) -> Array:
    channels, multiplier = len(windows), len(weight) // len(windows)
    split = weight.reshape(channels, multiplier, *weight.shape[2:])
    acc = np.zeros((channels, multiplier, *windows.shape[3:]), weight.dtype)
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            acc += split[:, :, u, v, None, None, None] * windows[:, None, u, v]
    return acc.reshape(len(weight), *windows.shape[3:])


def _linear(linear: Linear, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    kind = _exact(linear)
    return _finish(linear, linear.weight.astype(kind) @ (inputs[0].astype(kind) - kind(points[0])), zero_out)


def _windows(
    padded: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    rows: int,
    columns: int,
) -> Array:
    """A view (C, kernel y, kernel x, rows, columns, N) of (C, H, W, N)."""
    c, y, x, n = padded.strides
    shape = (padded.shape[0], kernel[0], kernel[1], rows, columns, padded.shape[3])
    return as_strided(
        padded, shape, (c, y * dilation[0], x * dilation[1], y * stride[0], x * stride[1], n), writeable=False
    )


def _pool_windows(layer: Pool, x: Array, fill: int, kind: Any) -> Array:
    """Windows over `x` padded with `fill`, also where `ceil` reaches beyond the stated padding."""
    channels, height, width, batch = x.shape
    _, rows, columns = layer.shape((x.shape[:3],))
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
    return _windows(padded, layer.kernel, layer.stride, layer.dilation, rows, columns)


def _max_pool(pool: MaxPool, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    windows = _pool_windows(pool, inputs[0], INT8_MIN, np.int8)
    result: Int8 = np.full((len(windows), *windows.shape[3:]), INT8_MIN, np.int8)
    for u in range(pool.kernel[0]):
        for v in range(pool.kernel[1]):
            np.maximum(result, windows[:, u, v], out=result)
    return result


def _avg_pool(pool: AvgPool, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x, zero = inputs[0], points[0]
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
    return np.asarray(result, dtype=np.int8)


def pool_counts(pool: AvgPool, height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(positions inside the input, positions that the mean counts) of each output (rows, columns)."""
    _, rows, columns = pool.shape(((1, height, width),))
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


def _global_avg_pool(pool: GlobalAvgPool, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x = inputs[0]
    acc = x.astype(np.int64).sum(axis=(1, 2)) - points[0] * x.shape[1] * x.shape[2]
    result = _clamp(requantize(acc, pool.multiplier, pool.shift), -128, 127, zero_out)
    return result[:, None, None, :] if pool.keep else result


def _add(add: Add, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    acc = _scaled(inputs[0], points[0], add.multipliers[0])
    acc += _scaled(inputs[1], points[1], add.multipliers[1])
    return _clamp(_rounded(acc, add.shift), add.low, add.high, zero_out)


def _concat(concat: Concat, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    parts = []
    for x, point, multiplier, shift in zip(inputs, points, concat.multipliers, concat.shifts, strict=True):
        if multiplier == 1 << shift and point == zero_out:
            parts.append(
                x if (concat.low, concat.high) == (-128, 127) else np.clip(x, concat.low, concat.high)
            )
        else:
            parts.append(
                _clamp(_rounded(_scaled(x, point, multiplier), shift), concat.low, concat.high, zero_out)
            )
    return np.concatenate(parts, axis=concat.axis)


def _scaled(x: Int8, point: int, multiplier: int) -> NDArray[np.int32]:
    scaled = x.astype(np.int32)
    scaled -= point
    scaled *= multiplier
    return scaled


def _rounded(acc: NDArray[np.int32], shift: int) -> NDArray[np.int32]:
    acc += 1 << (shift - 1)
    acc >>= shift
    return acc


def _clamped(clamp: Clamp, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    return np.clip(inputs[0], clamp.low, clamp.high)


def _flatten(layer: Flatten, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    return inputs[0].reshape(-1, inputs[0].shape[-1])


# each takes (layer, its inputs, their zero points, the output's zero point)
_KERNELS: dict[str, Callable[..., Int8]] = {
    Conv.kind: _conv,
    Linear.kind: _linear,
    MaxPool.kind: _max_pool,
    AvgPool.kind: _avg_pool,
    GlobalAvgPool.kind: _global_avg_pool,
    Add.kind: _add,
    Concat.kind: _concat,
    Clamp.kind: _clamped,
    Flatten.kind: _flatten,
}
