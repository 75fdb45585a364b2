"""Convolutions and linear layers in integer arithmetic."""

import numpy as np

from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.kernels.base import KERNELS, Array, exact, finish, image, like, windows_of
from sparsemod.quantization.layers.weighted import Conv, Linear


@KERNELS.register("conv")
def _conv(layer: Conv, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    (zero,), x = points, image(inputs[0])
    channels, height, width, batch = x.shape
    top, bottom, left, right = layer.padding
    kind = exact(layer)
    padded = np.zeros((channels, height + top + bottom, width + left + right, batch), kind)
    np.subtract(x, kind(zero), out=padded[:, top : top + height, left : left + width], dtype=kind)
    rows, columns = layer.window.counts((height, width))
    windows = windows_of(padded, layer.weight.shape[2:], layer.stride, layer.dilation, rows, columns)
    weight = layer.weight.astype(kind)
    acc = _depthwise(windows, weight) if layer.depthwise else _grouped(windows, weight, layer.groups)
    return like(finish(layer, acc, zero_out), inputs[0])


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


@KERNELS.register("linear")
def _linear(linear: Linear, inputs: list[Int8], points: list[int], zero_out: int) -> Int8:
    kind = exact(linear)
    return finish(linear, linear.weight.astype(kind) @ (inputs[0].astype(kind) - kind(points[0])), zero_out)
