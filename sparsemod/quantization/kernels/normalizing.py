"""Softmax, vectors of length 1 and normalizations of groups in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.kernels.base import KERNELS, clamp_to
from sparsemod.quantization.layers.normalizing import GroupNorm, L2Normalize, LogSoftmax, Softmax


@KERNELS.register("softmax")
def _softmax(layer: Softmax, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x = inputs[0].astype(np.int64)
    powers = layer.powers.astype(np.int64)[x.max(axis=layer.axis, keepdims=True) - x]
    total = powers.sum(axis=layer.axis, keepdims=True)
    shares = np.minimum(((powers << 8) + total // 2) // total - 128, 127)
    return np.asarray(shares, np.int8)


@KERNELS.register("l2_normalize")
def _normalize(layer: L2Normalize, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    distance = inputs[0].astype(np.int64) - points[0]
    square = (distance**2).sum(axis=layer.axis, keepdims=True)
    factor = np.full_like(square, 128)
    for _ in range(8):
        grows = square < 1 << 30
        square, factor = np.where(grows, square << 2, square), np.where(grows, factor * 2, factor)
    length = np.floor(np.sqrt(square.astype(np.float64))).astype(np.int64)  # exact below 2^52
    share = (np.abs(distance) * factor + length // 2) // np.maximum(length, 1)
    return np.asarray(np.clip(np.sign(distance) * share, -128, 127), np.int8)


@KERNELS.register("log_softmax")
def _log_softmax(layer: LogSoftmax, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x = inputs[0].astype(np.int64)
    distance = x.max(axis=layer.axis, keepdims=True) - x
    total = layer.powers.astype(np.int64)[distance].sum(axis=layer.axis, keepdims=True)
    bits = 32 - np.frexp(total.astype(np.float64))[1]  # exact below 2^53
    place = ((total << bits) + (1 << 22) - (1 << 31)) >> 23
    logarithm = layer.offset - bits * layer.step + layer.logarithms.astype(np.int64)[place]
    value = (layer.multiplier * distance + logarithm + (1 << 11)) >> 12
    return np.asarray(np.maximum(127 - value, -128), np.int8)


@KERNELS.register("group_norm")
def _group_norm(layer: GroupNorm, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x = np.moveaxis(inputs[0], layer.axis, 0).astype(np.int64)
    shape, batch = x.shape, x.shape[-1]
    # (groups, channels of a group, positions, N)
    split = x.reshape(layer.groups, shape[0] // layer.groups, -1, batch)
    axes = (1, 2) if layer.whole else (1,)
    count = split.shape[1] * (split.shape[2] if layer.whole else 1)
    total, squares = (part.sum(axis=axes, keepdims=True) for part in (split, split**2))
    scaled, down = count * squares - total**2 + layer.epsilon, np.full(total.shape, 19, np.int64)
    for _ in range(16):
        large = scaled >= 1 << 32
        scaled, down = np.where(large, scaled >> 2, scaled), np.where(large, down + 1, down)
    for _ in range(16):
        small = scaled < 1 << 30
        scaled, down = np.where(small, scaled << 2, scaled), np.where(small, down - 1, down)
    root = np.floor(np.sqrt(scaled.astype(np.float64))).astype(np.int64)  # exact below 2^52
    inverse = (1 << 31) // root
    z = ((count * split - total) * inverse + (np.int64(1) << (down - 1))) >> down
    per_channel = (layer.groups, -1, 1, 1)
    multiplier, offset = (v.astype(np.int64).reshape(per_channel) for v in (layer.multiplier, layer.offset))
    value = (((z * multiplier) >> layer.shift) + offset + 128) >> 8
    return np.moveaxis(clamp_to(value.reshape(shape), layer.low, layer.high, zero_out), 0, layer.axis)
