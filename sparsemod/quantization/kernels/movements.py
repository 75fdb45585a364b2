"""Copies, and values between positions, in integer arithmetic."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.patterns import OUTSIDE
from sparsemod.quantization.arithmetic import INT8_MIN, Int8
from sparsemod.quantization.kernels.base import KERNELS, image, like
from sparsemod.quantization.layers.movements import Interpolate, Move, Take


@KERNELS.register("move")
def _move(layer: Move, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x = inputs[0].reshape(-1, inputs[0].shape[-1])
    return x[layer.pattern.index()].reshape(*layer.made_shape, -1)


@KERNELS.register("take")
def _take(layer: Take, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x, fill = inputs[0], points[0] if layer.fill == "zero" else INT8_MIN
    for axis, places in enumerate(layer.places):
        if places:
            chosen = np.array(places)
            x = np.take(x, np.maximum(chosen, 0), axis)
            np.moveaxis(x, axis, 0)[chosen == OUTSIDE] = fill
    return x


@KERNELS.register("interpolate")
def _interpolate(layer: Interpolate, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    x = image(inputs[0]).astype(np.int32)
    columns, columns_next, v = (np.array(axis, np.int32) for axis in layer.column_places)
    rows, rows_next, u = (np.array(axis, np.int32) for axis in layer.row_places)
    v, u = v[None, None, :, None], u[None, :, None, None]
    across = x[:, :, columns] * (1024 - v) + x[:, :, columns_next] * v
    acc: NDArray[Any] = across[:, rows] * (1024 - u) + across[:, rows_next] * u
    acc += 1 << 19
    acc >>= 20
    return like(acc.astype(np.int8), inputs[0])
