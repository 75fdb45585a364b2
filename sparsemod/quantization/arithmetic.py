"""The exact integer arithmetic of an integer network. Generated C must repeat it bit for bit.

Two operations do all rescaling. `>>` is the arithmetic shift (floor); no other rounding happens anywhere.

Requantization (conv, linear, global average), TFLite's single-rounding MultiplyByQuantizedMultiplier:

    real multiplier M = multiplier x 2^(shift - 31),   2^30 <= multiplier < 2^31 (or 0),   -31 <= shift <= 30
    requantize(acc, multiplier, shift) = (int64(acc) * multiplier + (1 << (30 - shift))) >> (31 - shift)

`acc` fits in int32 and so does the result (networks that could overflow are rejected when they are
constructed).

Rescaling of int8 values (add, concat), which needs int32 only:

    real factors M_i = multiplier_i / 2^shift,   0 <= multiplier_i <= 2^21,   1 <= shift <= 30
    rescale(q, z, multiplier, shift) = (sum_i (q_i - z_i) * multiplier_i + (1 << (shift - 1))) >> shift

|q - z| <= 255, so two terms and the rounding constant stay below 2^31. Both round to nearest, halves upwards.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018; TensorFlow Lite's 8-bit quantization specification.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput

INT8_MIN, INT8_MAX = -128, 127
WEIGHT_MAX = 127  # weights are symmetric, so -128 is not used
RESCALE_BITS = 21

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]


def quantize_multiplier(real: NDArray[np.float64] | float) -> tuple[Int32, Int32]:
    """Return (multiplier, shift) of each real multiplier >= 0; (0, 0) for a multiplier too small for any effect (below 2^-32).

    Raises InvalidInput for multipliers that are negative, infinite or above 2^30.
    """
    values = np.atleast_1d(np.asarray(real, dtype=np.float64))
    if not np.all((values >= 0) & (values < 2.0**30)):
        raise InvalidInput(
            "multiplier", values[~((values >= 0) & (values < 2.0**30))][0], "at least 0 and below 2^30"
        )
    fraction, exponent = np.frexp(values)
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    carried = multiplier == 2**31
    multiplier = np.where(carried, 2**30, multiplier)
    exponent = np.where(carried, exponent + 1, exponent)
    tiny = (exponent < -31) | (values == 0)
    return np.where(tiny, 0, multiplier).astype(np.int32), np.where(tiny, 0, exponent).astype(np.int32)


def requantize(acc: Int64, multiplier: Int64 | int, shift: Int64 | int) -> Int64:
    """Requantize as the module's docstring defines; arrays broadcast."""
    shift = np.asarray(shift, dtype=np.int64)
    result: Int64 = (np.asarray(acc, np.int64) * multiplier + (np.int64(1) << (30 - shift))) >> (31 - shift)
    return result


def rescale_multipliers(factors: tuple[float, ...]) -> tuple[tuple[int, ...], int]:
    """Return (multipliers, common shift) of real factors, with the largest shift at which each multiplier is at most 2^21.

    Raises InvalidInput when a factor is not below 2^20.
    """
    largest = max(factors)
    if not (min(factors) >= 0 and largest < 2.0 ** (RESCALE_BITS - 1)):
        raise InvalidInput("rescaling factor", factors, f"at least 0 and below 2^{RESCALE_BITS - 1}")
    shift = 30 if largest == 0 else min(30, RESCALE_BITS - math.frexp(largest)[1])
    while shift > 1 and _half_up(largest * 2.0**shift) > 2**RESCALE_BITS:
        shift -= 1
    return tuple(_half_up(factor * 2.0**shift) for factor in factors), shift


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def activation_parameters(low: float, high: float, least: float = 0.0) -> tuple[float, int]:
    """Return (scale, zero point) of an asymmetric int8 tensor with real values in [low, high].

    The range is widened to include 0, which int8 then represents exactly (padding and pruned values stay exact zeros).
    `least` is a lower bound of the scale. An empty range gets scale max(1, least). The scale is a float32 number.
    Raises InvalidInput for a range that is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InvalidInput("activation range", (low, high), "two finite numbers, the lower first")
    low, high = min(0.0, low), max(0.0, high)
    scale = _float32((high - low) / 255.0)
    if scale < float(np.finfo(np.float32).tiny):
        return _float32(max(1.0, least)), 0
    scale = max(scale, _float32(least))
    zero_point = _half_up(INT8_MIN - low / scale)
    return scale, min(INT8_MAX, max(INT8_MIN, zero_point))


def _float32(value: float) -> float:
    return float(np.float32(value))


def quantize_values(values: NDArray[Any], scale: float, zero_point: int, bits: int = 8) -> NDArray[Any]:
    """Quantize real values to int8: clamp(zero_point + round_half_even(float32(value) / float32(scale)), -128, 127).

    NaN becomes the zero point. With 16 `bits`, to int16 in the same way."""
    with np.errstate(over="ignore"):  # infinities are clamped
        scaled = np.rint(np.asarray(values, dtype=np.float32) / np.float32(scale)) + np.float32(zero_point)
    scaled = np.where(np.isnan(scaled), np.float32(zero_point), scaled)
    high = 2 ** (bits - 1) - 1
    return np.asarray(np.clip(scaled, -high - 1, high), dtype=np.int8 if bits == 8 else np.int16)


def dequantize_values(values: NDArray[Any], scale: float, zero_point: int) -> Float32:
    """Dequantize int8 values: (q - zero_point) x scale, in float32."""
    return (np.asarray(values, dtype=np.float32) - np.float32(zero_point)) * np.float32(scale)


def clamp_range(activation: str | None, scale: float, zero_point: int) -> tuple[int, int]:
    """Return the int8 range of an activation's output: None, "relu" or "relu6"."""
    low = INT8_MIN if activation is None else max(INT8_MIN, zero_point)
    high = INT8_MAX
    if activation == "relu6":
        high = max(low, min(INT8_MAX, zero_point + _half_up(6.0 / scale)))
    return low, high
