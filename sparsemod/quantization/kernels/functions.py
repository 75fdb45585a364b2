"""Functions of one value in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.kernels.base import KERNELS, clamp_to, rounded
from sparsemod.quantization.layers.functions import Prelu, Table


@KERNELS.register("table")
def _table(layer: Table, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    return layer.table[inputs[0].astype(np.int16) + 128]


@KERNELS.register("prelu")
def _prelu(layer: Prelu, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    distance = inputs[0].astype(np.int32) - points[0]
    slopes = layer.slopes.reshape(-1, *(1,) * (distance.ndim - 1))
    acc = distance * np.where(distance < 0, slopes, np.int32(layer.positive))
    return clamp_to(rounded(acc, layer.shift), -128, 127, zero_out)
