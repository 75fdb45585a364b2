"""Dominance, front, hypervolume, budgets."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemod.errors import InvalidInput
from sparsemod.objectives import GrowingFront, Objectives, hypervolume, nondominated

points = st.integers(1, 4).flatmap(
    lambda m: st.lists(
        st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]), min_size=m, max_size=m),
        min_size=1,
        max_size=9,
    )
)


@given(points)
def test_front_against_the_definition(rows):
    array = np.array(rows)
    expected = [
        i for i, a in enumerate(array)
        if not any(np.all(b <= a) and (np.any(b < a) or j < i) for j, b in enumerate(array) if j != i)
    ]  # fmt: skip
    assert nondominated(array) == expected


@given(points)
def test_hypervolume_against_counting_grid_cells(rows):
    array = np.array(rows)
    centres = (np.arange(5) + 0.5) / 5
    covered = sum(
        bool(np.any(np.all(array <= np.array(cell) - 0.1 + 1e-9, axis=1)))
        for cell in itertools.product(centres, repeat=array.shape[1])
    )
    assert hypervolume(array) == pytest.approx(covered / 5 ** array.shape[1])


@given(points)
def test_history_grows_to_the_hypervolume_of_all(rows):
    names = ("error", "model_size", "working_memory", "latency")[: len(rows[0])]
    objectives = Objectives(names, dict.fromkeys(names, 2.0), {"error": 1.6})
    values = [dict(zip(names, (2 * x for x in row), strict=True)) for row in rows]
    history = objectives.history(values)
    assert history == sorted(history)
    assert history[-1] == pytest.approx(objectives.hypervolume(values))
    assert all(values[i]["error"] <= 1.6 for i in objectives.front(values))


def test_hand_computed():
    objectives = Objectives(("error", "model_size"), {"error": 1.0, "model_size": 100.0}, {"latency": 5.0})
    rows = [
        {"error": 0.5, "model_size": 50.0},
        {"error": 0.2, "model_size": 80.0, "latency": 6.0},
        {"error": 0.1, "model_size": 90.0},
    ]
    assert objectives.over_budget(rows[1]) == {"latency": 1.0}
    assert objectives.front(rows) == [0, 2]
    assert objectives.hypervolume(rows) == pytest.approx(0.5 * 0.5 + 0.1 * 0.4)
    assert not objectives.feasible({"latency": float("nan")})


def test_errors_name_the_field():
    with pytest.raises(InvalidInput, match=r"reference_point.error = 0: a positive number"):
        Objectives(("error",), {"error": 0}, {})
    with pytest.raises(InvalidInput, match=r"values.error"):
        Objectives(("error",), {"error": 1}, {}).vector({"latency": 3})


def test_the_nearest_misses_stand_for_an_empty_front():
    objectives = Objectives(("error",), {"error": 1.0}, {"error": 0.1, "latency": 5.0})
    growing = GrowingFront(objectives)
    rows = [
        {"error": 0.4},
        {"error": 0.2, "latency": 6.0},  # twice and 1.2 times over
        {"error": 0.11, "latency": 20.0},
        {"error": 0.2, "latency": float("nan")},
        {"error": 0.3},
        {"error": 0.9},
        {"error": 0.11},
        {"error": 0.15},
    ]
    for key, row in enumerate(rows):
        growing.add(key, row)
    assert [key for key, _ in growing.nearest] == [6, 7, 1, 4, 0]
    assert [key for key, _ in growing.nearest] == objectives.nearest_misses(rows, 5)
    growing.add(8, {"error": 0.1})
    assert (growing.members, growing.nearest) == ([8], [])
    growing.add(9, {"error": 0.2})
    assert growing.nearest == []
