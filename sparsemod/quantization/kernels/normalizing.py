"""Softmax and vectors of length 1 in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.kernels.base import KERNELS
from sparsemod.quantization.layers.normalizing import L2Normalize, Softmax


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
