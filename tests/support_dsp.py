"""Networks of one layer that has a kernel of its own on cores with DSP instructions."""

from typing import Any

import numpy as np

from sparsemod.quantization import IntegerNetwork, TensorInfo
from sparsemod.quantization.arithmetic import quantize_multiplier
from sparsemod.quantization.layers import Conv, Layer, Linear

KINDS = ("conv", "pointwise", "depthwise", "linear")


def numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    """Random weights, with sums within 24 bits, and factors whose shifts differ in some layers.

    Some layers have a filter without weights, whose factor has a shift far from the others, or a factor of 0."""
    outputs = shape[0]
    spread = float(rng.choice([1.0, 3.9, 40.0])) ** rng.random(outputs) * 0.02 / np.sqrt(np.prod(shape[1:]))
    multiplier, shift = quantize_multiplier(spread)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.integers(-(2**13), 2**13, outputs).astype(np.int32)
    if outputs > 1 and int(weight.sum()) % 3:
        weight[1], bias[1] = 0, bias[1] % 300 - 150
        multiplier[1:2], shift[1:2] = quantize_multiplier(0.9)
    if outputs > 3 and int(weight.sum()) % 2:
        multiplier[3], shift[3] = 0, 0
    return {
        "weight": weight,
        "bias": bias,
        "multiplier": multiplier,
        "shift": shift,
        "weight_scale": np.ones(outputs, np.float32),
    }


def drawn(kind: str, seed: int) -> tuple[IntegerNetwork, Any]:
    """A network of one layer of `kind` for cortex-m4, and inputs: odd channels, widths, paddings, strides and bounds among them."""
    rng = np.random.default_rng(seed)
    low, high = (-128, 127) if rng.random() < 0.6 else (int(rng.integers(-120, 0)), int(rng.integers(1, 120)))
    base: dict[str, Any] = {
        "name": kind, "inputs": ("x",), "output": "y", "low": low, "high": high,
    }  # fmt: skip
    layer: Layer
    if kind == "linear":
        shape: tuple[int, ...] = (int(rng.integers(1, 70)),)
        layer = Linear(**base, **numbers(rng, (int(rng.integers(1, 23)), *shape)))
    else:
        channels = int(rng.integers(2 if kind == "depthwise" else 1, 12))
        shape = (channels, int(rng.integers(3, 12)), int(rng.integers(3, 14)))
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        kernel = (1, 1) if kind == "pointwise" else (3, 3)
        padding = (0, 0, 0, 0) if kind == "pointwise" else tuple(map(int, rng.integers(0, 3, 4)))
        if kind == "conv":
            kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
            stride = (stride[0], int(rng.integers(1, 4)))
        outputs = channels if kind == "depthwise" else int(rng.integers(1, 14))
        weights = numbers(rng, (outputs, 1 if kind == "depthwise" else channels, *kernel))
        groups = channels if kind == "depthwise" else 1
        layer = Conv(**base, **weights, stride=stride, padding=padding, groups=groups)
    zeros = rng.integers(-128, 128, 2)
    tensors = {
        "x": TensorInfo(shape, 0.125, int(zeros[0])),
        "y": TensorInfo(layer.shape((shape,)), 0.125, int(zeros[1])),
    }
    images = rng.integers(-128, 128, (3, *shape)).astype(np.int8)
    images[0] = rng.choice([-128, 127], shape)  # the largest sums
    return IntegerNetwork("x", "y", tensors, (layer,), core="cortex-m4", encodings={kind: "dense"}), images
