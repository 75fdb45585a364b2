"""Layers that move or join values, in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.kernels.base import KERNELS, clamp_to, rounded, scaled
from sparsemod.quantization.layers.shaping import Concat, Flatten, Reshape, Transpose


@KERNELS.register("concat")
def _concat(concat: Concat, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    parts = []
    for x, point, multiplier, shift in zip(inputs, points, concat.multipliers, concat.shifts, strict=True):
        if multiplier == 1 << shift and point == zero_out:
            parts.append(
                x if (concat.low, concat.high) == (-128, 127) else np.clip(x, concat.low, concat.high)
            )
        else:
            parts.append(
                clamp_to(rounded(scaled(x, point, multiplier), shift), concat.low, concat.high, zero_out)
            )
    return np.concatenate(parts, axis=concat.axis)


@KERNELS.register("flatten")
def _flatten(layer: Flatten, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    return inputs[0].reshape(-1, inputs[0].shape[-1])


@KERNELS.register("reshape")
def _reshape(layer: Reshape, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    return inputs[0].reshape(*layer.made_shape, -1)


@KERNELS.register("transpose")
def _transpose(layer: Transpose, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    return np.ascontiguousarray(inputs[0].swapaxes(0, 1))
