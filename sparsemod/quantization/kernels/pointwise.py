"""Addition and activations in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.kernels.base import KERNELS, clamp_to, rounded, scaled
from sparsemod.quantization.layers.pointwise import Add, Clamp


@KERNELS.register("add")
def _add(add: Add, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    acc = scaled(inputs[0], points[0], add.multipliers[0])
    acc += scaled(inputs[1], points[1], add.multipliers[1])
    return clamp_to(rounded(acc, add.shift), add.low, add.high, zero_out)


@KERNELS.register("clamp")
def _clamped(clamp: Clamp, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    return np.clip(inputs[0], clamp.low, clamp.high)
