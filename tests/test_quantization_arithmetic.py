from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemod.errors import InvalidInput
from sparsemod.quantization.arithmetic import (
    activation_parameters,
    clamp_range,
    dequantize_values,
    quantize_multiplier,
    quantize_values,
    requantize,
    rescale_multipliers,
)


@given(st.floats(min_value=2.0**-32, max_value=2.0**29))
def test_a_multiplier_is_exact_to_31_bits(real):
    (multiplier,), (shift,) = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert abs(int(multiplier) * 2.0 ** (int(shift) - 31) / real - 1) <= 2.0**-31


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.floats(min_value=2.0**-32, max_value=1.0))
def test_requantize_rounds_the_exact_product_to_nearest_halves_upwards(acc, real):
    (multiplier,), (shift,) = quantize_multiplier(real)
    exact = Fraction(acc) * int(multiplier) * Fraction(2) ** (int(shift) - 31)
    assert (
        int(requantize(np.array([acc]), int(multiplier), int(shift))[0])
        == (exact + Fraction(1, 2)).__floor__()
    )


@pytest.mark.parametrize(
    ("real", "expected"),
    [(1.0, (2**30, 1)), (0.5, (2**30, 0)), (0.0, (0, 0)), (2.0**-40, (0, 0)), (1 - 2.0**-40, (2**30, 1))],
)
def test_known_multipliers(real, expected):
    (multiplier,), (shift,) = quantize_multiplier(real)
    assert (multiplier, shift) == expected


@pytest.mark.parametrize("real", [-1.0, float("inf"), float("nan"), 2.0**30])
def test_impossible_multipliers_are_rejected(real):
    with pytest.raises(InvalidInput, match="multiplier"):
        quantize_multiplier(real)


@given(st.lists(st.floats(min_value=0, max_value=2.0**20, exclude_max=True), min_size=1, max_size=2))
def test_rescaling_fits_in_32_bits_and_keeps_21_bits(factors):
    multipliers, shift = rescale_multipliers(tuple(factors))
    assert 1 <= shift <= 30 and all(0 <= m <= 2**21 for m in multipliers)
    assert 255 * sum(multipliers) + 2 ** (shift - 1) < 2**31
    for factor, multiplier in zip(factors, multipliers, strict=True):
        assert abs(multiplier / 2**shift - factor) <= 2.0 ** -(shift + 1)
    if max(factors) >= 2.0**-9:
        assert max(multipliers) >= 2**20 - 1 or shift == 30


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_zero_is_exact_and_values_come_back_within_half_a_step(a, b):
    low, high = min(a, b), max(a, b)
    scale, zero = activation_parameters(low, high)
    assert -128 <= zero <= 127 and dequantize_values(np.array([zero]), scale, zero)[0] == 0
    values = np.array([low, high, (low + high) / 2], dtype=np.float32)
    back = dequantize_values(quantize_values(values, scale, zero), scale, zero)
    assert np.all(np.abs(back - values) <= scale * 1.01)


def test_degenerate_ranges():
    assert activation_parameters(0.0, 0.0) == (1.0, 0)
    assert activation_parameters(5.0, 5.0)[1] == -128
    assert activation_parameters(-5.0, -5.0)[1] == 127
    assert activation_parameters(0.0, 0.0, least=2.0) == (2.0, 0)
    for bad in ((float("nan"), 1.0), (0.0, float("inf")), (1.0, 0.0)):
        with pytest.raises(InvalidInput, match="activation range"):
            activation_parameters(*bad)


def test_activations_as_ranges():
    assert clamp_range(None, 0.1, 5) == (-128, 127)
    assert clamp_range("relu", 0.1, 5) == (5, 127)
    assert clamp_range("relu6", 0.1, -128) == (-128, -68)
    assert clamp_range("relu6", 0.01, -128) == (-128, 127)
