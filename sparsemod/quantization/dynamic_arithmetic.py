"""Float32 arithmetic of dynamically quantized networks, which the generated C repeats bit for bit.

Every operation is one float32 operation, rounded once, in the order written here. Nothing is fused or reordered.
"""

import numpy as np
import torch
from torch import Tensor

from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN
from sparsemod.quantization.layers.recurrent import SIGMOID

LEAST_SCALE = float(np.finfo(np.float32).tiny)
LOWEST = float(np.finfo(np.float32).min)
GATE_STEPS = 2048.0
"""Steps of a gate's argument in 1: gates are computed from whole numbers of 2^-11ths."""

_GATE_LIMIT = 32767.0
_TABLE = torch.from_numpy(np.asarray(SIGMOID, np.int64))


def number(value: float) -> Tensor:
    """Return a float32 number."""
    return torch.tensor(value, dtype=torch.float32)


def scale_of(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and zero point of ranges: s = (high - low) / 255, z = clamp(floor(-128 - low / s + 0.5)).

    The ranges are widened to hold 0. A scale below 2^-126 becomes 1.
    """
    zero = number(0.0)
    low, high = torch.where(low < 0, low, zero), torch.where(high > 0, high, zero)
    scale = (high - low) / number(255.0)
    scale = torch.where(scale < LEAST_SCALE, number(1.0), scale)
    point = torch.floor(number(float(INT8_MIN)) - low / scale + number(0.5))
    return scale, point.clamp(INT8_MIN, INT8_MAX)


def steps_from_zero(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return q - z for q = clamp(rint(x / s) + z, -128, 127): whole numbers of at most 255."""
    return (torch.round(x / scale) + zero).clamp(INT8_MIN, INT8_MAX) - zero


def activated(x: Tensor, activation: str | None) -> Tensor:
    """Apply a fused activation: None, "relu" or "relu6"."""
    if activation is None:
        return x
    x = torch.where(x > 0, x, number(0.0))
    return x if activation == "relu" else torch.where(x > 6, number(6.0), x)


def _sigmoid_steps(a: Tensor) -> Tensor:
    """Return 2^15 sigmoid(a / 2^11) of whole numbers in int64: linear between the entries of a table."""
    a = a.clamp(-32767, 32767)
    m = a.abs()
    k = m >> 8
    s = _TABLE[k] + (((_TABLE[k + 1] - _TABLE[k]) * (m & 255) + 128) >> 8)
    return torch.where(a >= 0, s, 32768 - s)


def _gate(x: Tensor) -> Tensor:
    """Return the nearest whole number of 2^-11ths, at most 32767 of them."""
    return torch.round((x * number(GATE_STEPS)).clamp(-_GATE_LIMIT, _GATE_LIMIT)).long()


def sigmoid(x: Tensor) -> Tensor:
    """Return the sigmoid as the gates of integer networks compute it, within 2^-11 of the real one; exact in 2^-15ths."""
    return _sigmoid_steps(_gate(x)).float() * number(2.0**-15)


def tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent as 2 sigmoid(2 x) - 1; exact in 2^-15ths."""
    return (2 * _sigmoid_steps(2 * _gate(x)) - 32768).float() * number(2.0**-15)
