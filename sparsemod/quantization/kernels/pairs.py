"""Arithmetic of two tensors in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8, requantize
from sparsemod.quantization.kernels.base import KERNELS, clamp_to, rounded, scaled
from sparsemod.quantization.layers.pairs import Combined, Multiply


@KERNELS.rules("sum", "subtract")
def _sum(layer: Combined, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    first, second = _sides(layer, inputs, points)
    return clamp_to(rounded(first + second, layer.shift), layer.low, layer.high, zero_out)


@KERNELS.register("maximum")
def _maximum(layer: Combined, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    acc = np.maximum(*_sides(layer, inputs, points))
    return clamp_to(rounded(acc, layer.shift), layer.low, layer.high, zero_out)


@KERNELS.register("minimum")
def _minimum(layer: Combined, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    acc = np.minimum(*_sides(layer, inputs, points))
    return clamp_to(rounded(acc, layer.shift), layer.low, layer.high, zero_out)


def _sides(
    layer: Combined, inputs: list[Int8], points: list[int]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
    return [scaled(x, z, m) for x, z, m in zip(inputs, points, layer.multipliers, strict=True)]


@KERNELS.register("multiply")
def _multiply(layer: Multiply, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    first, second = (x.astype(np.int64) - z for x, z in zip(inputs, points, strict=True))
    return clamp_to(
        requantize(first * second, layer.multiplier, layer.shift), layer.low, layer.high, zero_out
    )
