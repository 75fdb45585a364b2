"""The closed-form acquisition against brute force: exact improvements by moocore, expected ones by stratified Monte Carlo."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import ndtr, ndtri

from sparsemod.objectives import hypervolume, nondominated
from sparsemod.search import ehvi


def front_and_candidate(seed: int, size: int, objectives: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    points = rng.random((size, objectives)) * 1.1
    if ties:
        points = np.round(points * 6) / 6
    points = points[nondominated(points)]
    return points, rng.random((1, objectives))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 25), st.integers(1, 4), st.booleans())
def test_a_certain_error_gives_the_exact_improvement(
    seed: int, size: int, objectives: int, ties: bool
) -> None:
    points, new = front_and_candidate(seed, size, objectives, ties)
    exact = hypervolume(np.vstack([points, new])) - hypervolume(points)
    cells = ehvi.decompose(points[:, 1:], points[:, 0])
    below = np.maximum(cells.levels[None, :] - new[:, :1], 0.0)
    assert_allclose(ehvi.improvement(cells, new[:, 1:], below), exact, atol=1e-12)
    if objectives > 1:
        # The same with every objective known: nothing is swept.
        cells = ehvi.decompose(points, None)
        assert_allclose(ehvi.improvement(cells, new, None), exact, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 15), st.integers(1, 4), st.floats(-4.0, 0.3), st.floats(0.05, 1.5)
)
def test_expected_improvement_agrees_with_monte_carlo(
    seed: int, size: int, objectives: int, mean: float, deviation: float
) -> None:
    points, new = front_and_candidate(seed, size, objectives, ties=False)
    shift = 0.05
    cells = ehvi.decompose(points[:, 1:], points[:, 0])
    below = ehvi.expected_below(cells.levels, lambda s: ndtr((np.log(s + shift) - mean) / deviation)[None, :])
    closed = ehvi.improvement(cells, new[:, 1:], below)[0]
    # One draw from each of 2,000 equally likely strata: rare gains are seen too, and the sum is off by at most one stratum's range.
    uniform = (np.arange(2000) + np.random.default_rng(seed).random(2000)) / 2000
    draws = np.exp(mean + deviation * ndtri(uniform)) - shift
    base = hypervolume(points)
    gains = [hypervolume(np.vstack([points, [[max(y, 0.0), *new[0, 1:]]]])) - base for y in draws]
    assert closed == pytest.approx(np.mean(gains), abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 40), st.integers(2, 4))
def test_the_cells_fill_the_free_region_exactly(seed: int, size: int, objectives: int) -> None:
    points, _ = front_and_candidate(seed, size, objectives, ties=False)
    cells = ehvi.decompose(points[:, 1:], points[:, 0])
    lengths = cells.levels[cells.end] - cells.levels[cells.start]
    volume = float((np.prod(cells.upper - cells.lower, axis=1) * lengths).sum())
    assert volume == pytest.approx(1.0 - hypervolume(points))


def test_the_expected_amount_below_a_level_is_an_integral() -> None:
    levels = np.array([0.0, 0.1, 0.4, 1.0])
    below = ehvi.expected_below(levels, lambda s: ndtr((np.log(s + 0.05) + 2.0) / 0.7)[None, :])
    draws = np.maximum(np.exp(np.random.default_rng(0).normal(-2.0, 0.7, 400_000)) - 0.05, 0.0)
    expected = [np.maximum(level - draws, 0.0).mean() for level in levels]
    assert_allclose(below[0], expected, atol=2e-3)
    assert below[0, 0] == 0.0
