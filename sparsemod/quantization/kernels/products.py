"""Products of matrices, and sums with constants, in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8, requantize
from sparsemod.quantization.kernels.base import KERNELS, clamp_to, rounded, scaled
from sparsemod.quantization.layers.products import MatMul, Offset


@KERNELS.register("matmul")
def _matmul(layer: MatMul, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    sides = []
    for name, x, point in zip(("first", "second"), inputs, points, strict=True):
        # (N, products, rows, inner); sums of products of integers below 2^53 are exact
        chosen = x.reshape(-1, x.shape[-1])[layer.index(name)].astype(np.float64) - point
        sides.append(np.moveaxis(chosen, -1, 0))
    acc = np.matmul(sides[0], np.swapaxes(sides[1], 2, 3)).astype(np.int64)
    made = clamp_to(requantize(acc, layer.multiplier, layer.shift), -128, 127, zero_out)
    return np.ascontiguousarray(made.transpose(2, 1, 3, 0)).reshape(layer.rows, -1, made.shape[0])


@KERNELS.register("offset")
def _offset(layer: Offset, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    acc = scaled(inputs[0], points[0], layer.multipliers[0])
    acc += layer.values.astype(np.int32)[..., None] * layer.multipliers[1]
    return clamp_to(rounded(acc, layer.shift), layer.low, layer.high, zero_out)
