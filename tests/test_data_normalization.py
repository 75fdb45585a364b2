"""Normalization constants: constant channels, whatever the samples' type, and types that are narrow."""

import numpy as np
import pytest

from sparsemod.data.normalization import METHODS, fit

SCALING = [name for name in METHODS if name != "none"]


@pytest.mark.parametrize("method", SCALING)
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int32])
def test_a_constant_column_keeps_scale_1(method: str, kind: type) -> None:
    x = np.full((1_000, 2), 14.62).astype(kind)
    x[:, 1] = np.arange(1_000)
    found = fit(method, x)
    assert found.scale[0] == 1.0 and found.scale[1] > 100
    assert np.all(found.apply(x)[:, 0] == 0)


@pytest.mark.parametrize("method", SCALING)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_constant_channel_of_images_keeps_scale_1(method: str, kind: type) -> None:
    x = np.full((40, 2, 5, 5), 14.62, kind)
    x[:, 1] = np.random.default_rng(0).normal(size=(40, 5, 5))
    found = fit(method, x)
    assert found.scale[0] == 1.0 != found.scale[1]
    assert np.abs(found.apply(x)[:, 0]).max() < 1e-6


def test_differences_below_float32_are_rounding_in_float64_too() -> None:
    """float32 holds 14.62 in steps of 9.5e-7."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1_000, 1))
    rounding, signal = 14.62 + 1e-8 * noise, 14.62 + 1e-4 * noise
    assert fit("standard", rounding).scale == (1.0,) == fit("standard", rounding.astype(np.float32)).scale
    wide, narrow = (fit("standard", x).scale[0] for x in (signal, signal.astype(np.float32)))
    assert wide == pytest.approx(1e-4 / 3**0.5, rel=0.05) == narrow


def test_small_values_are_not_taken_for_constant() -> None:
    x = 1e-20 * np.arange(10.0)[:, None]
    assert fit("unit", x).scale == (pytest.approx(9e-20),)


def test_half_precision_images_do_not_overflow() -> None:
    x = np.linspace(-6e4, 6e4, 200, dtype=np.float16).reshape(8, 1, 5, 5)
    found = fit("standard", x)
    expected = (x.astype(np.float64) - found.offset[0]) / found.scale[0]
    np.testing.assert_allclose(found.apply(x), expected, rtol=1e-5, atol=1e-6)
