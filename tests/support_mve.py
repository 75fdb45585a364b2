"""Networks of one layer that has a kernel of its own on cores with vector instructions (MVE)."""

from typing import Any

import numpy as np
from support_dsp import numbers

from sparsemod.quantization import IntegerNetwork, TensorInfo
from sparsemod.quantization.arithmetic import rescale_multipliers
from sparsemod.quantization.layers import Add, Clamp, Conv, Layer, Linear

KINDS = ("copied", "direct", "pointwise", "depthwise", "linear", "add")


def _window(rng: np.random.Generator, size: tuple[int, int], kernel: tuple[int, int]) -> dict[str, Any]:
    """A stride and a padding for which the output has a position."""
    padding = [int(rng.integers(0, 1 + k)) for k in kernel for _ in (0, 1)]
    for axis in (0, 1):
        missing = kernel[axis] - size[axis] - sum(padding[2 * axis : 2 * axis + 2])
        padding[2 * axis] += max(0, missing)
    return {"stride": tuple(int(each) for each in rng.integers(1, 4, 2)), "padding": tuple(padding)}


def _shapes(rng: np.random.Generator, kind: str) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """The input's shape, that of the weights, and the window."""
    size = int(rng.integers(1, 13)), int(rng.integers(1, 15))
    outputs = int(rng.integers(1, 21))
    if kind == "linear":
        taps = int(rng.choice([rng.integers(1, 40), rng.integers(40, 400)]))
        return (taps,), (outputs, taps), {}
    if kind == "pointwise":
        channels = int(rng.choice([rng.integers(1, 21), rng.integers(21, 200)]))
        stride = (1, 1) if rng.random() < 0.5 else tuple(int(each) for each in rng.integers(1, 4, 2))
        return (channels, *size), (outputs, channels, 1, 1), {"stride": stride}
    if kind == "depthwise":
        channels = int(rng.integers(2, 40))
        window = _window(rng, size, (3, 3))
        if rng.random() < 0.7:
            window["stride"] = (1, 1) if rng.random() < 0.5 else (2, 2)
            window["padding"] = tuple(int(each) for each in rng.integers(0, 2, 4))
            size = max(3, size[0]), max(3, size[1])
        return (channels, *size), (channels, 1, 3, 3), window | {"groups": channels}
    kernel = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    channels = int(rng.integers(1, 21))
    if kind == "direct":
        channels = int(rng.choice([16, 32, 48]))
        kernel = (kernel[0], min(kernel[1], 3))
    return (channels, *size), (outputs, channels, *kernel), _window(rng, size, kernel)


def drawn_mve(kind: str, seed: int) -> tuple[IntegerNetwork, Any]:
    """A network of one layer of `kind` for cortex-m55, and inputs: tails of every length, edges, odd counts and bounds among them."""
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    low, high = (-128, 127) if rng.random() < 0.6 else (int(rng.integers(-120, 0)), int(rng.integers(1, 120)))
    base: dict[str, Any] = {"name": kind, "inputs": ("x",), "output": "y", "low": low, "high": high}
    layer: Layer
    if kind == "add":
        shape: tuple[int, ...] = (int(rng.integers(1, 12)), int(rng.integers(1, 6)), int(rng.integers(1, 8)))
        multipliers, shift = rescale_multipliers(tuple(rng.uniform(0.01, 3, 2)))
        base |= {"inputs": ("x", "z")}
        layer = Add(**base, multipliers=multipliers, shift=shift)
    else:
        shape, weight, window = _shapes(rng, kind)
        values = numbers(rng, weight)
        if rng.random() < 0.3:  # factors of 1/2 and above, as in layers with few taps
            values |= {
                "weight": values["weight"] // 16,
                "bias": values["bias"] // 16,
                "shift": values["shift"] + 4 - values["shift"].max(),
            }
        layer = (Linear if kind == "linear" else Conv)(**base, **values, **window)
    zeros = rng.integers(-128, 128, 2)
    tensors = {
        "x": TensorInfo(shape, 0.125, int(zeros[0])),
        "y": TensorInfo(layer.shape((shape,) * len(layer.inputs)), 0.125, int(zeros[1])),
    }
    images = rng.integers(-128, 128, (3, *shape)).astype(np.int8)
    images[0] = rng.choice([-128, 127], shape)  # the largest sums
    layers: tuple[Layer, ...] = (layer,)
    if kind == "add":
        layers = (Clamp("clamp", ("x",), "z", low=-100, high=100), layer)
        tensors["z"] = tensors["x"]
    return IntegerNetwork("x", "y", tensors, layers, core="cortex-m55"), images
