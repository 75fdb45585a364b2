"""Splits are disjoint, complete, stratified and seeded; subsets are stratified."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsemod.data.splits import stratified, subset
from sparsemod.errors import InvalidInput


@settings(max_examples=150, deadline=None)
@given(
    class_sizes=st.lists(st.integers(3, 60), min_size=2, max_size=6),
    validation=st.floats(0.1, 0.4),
    test=st.floats(0.1, 0.4),
    seed=st.integers(0, 1000),
)
@example(class_sizes=[3, 3, 3], validation=0.375, test=0.390625, seed=0)  # 2 of 9 samples are left
def test_parts_are_disjoint_complete_and_hold_every_class(
    class_sizes: list[int], validation: float, test: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(class_sizes)), class_sizes))
    total = len(labels)
    sizes = {"validation": validation, "test": test}
    counts = round(validation * total), round(test * total)
    if min(*counts, total - sum(counts)) < len(class_sizes):
        with pytest.raises(InvalidInput, match="at least one for each"):
            stratified(labels, sizes, seed)
        return
    parts = stratified(labels, sizes, seed)
    together = np.concatenate(list(parts.values()))
    assert sorted(together.tolist()) == list(range(total))
    assert len(parts["validation"]) == round(validation * total) and len(parts["test"]) == round(test * total)
    for part in parts.values():
        assert set(labels[part].tolist()) == set(range(len(class_sizes)))
        assert np.all(np.diff(part) > 0)
    again = stratified(labels, sizes, seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_proportions_are_kept_within_one_sample() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    parts = stratified(labels, {"validation": 0.2, "test": 100}, 0)
    assert np.bincount(labels[parts["validation"]]).tolist() == [120, 60, 20]
    assert np.bincount(labels[parts["test"]]).tolist() == [60, 30, 10]


def test_another_seed_gives_another_division() -> None:
    labels = np.arange(200) % 4
    a, b = (stratified(labels, {"validation": 0.25}, seed)["validation"] for seed in (0, 1))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"validation": 0.0}, "above 0 and below 1"),
        ({"validation": 1.5}, "above 0 and below 1"),
        ({"validation": 0}, "between 1 and 29"),
        ({"validation": 30}, "between 1 and 29"),
        ({"validation": 2}, "at least one for each of 3 classes"),
        ({"validation": 14, "test": 14}, "leaves 2 of 30 samples for train"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        stratified(np.arange(30) % 3, sizes, 0)


def test_a_class_with_too_few_samples_is_named() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2] * 2)
    with pytest.raises(InvalidInput, match="class 2 has too few samples for 3 stratified parts") as caught:
        stratified(labels, {"validation": 0.2, "test": 0.2}, 0)
    assert caught.value.value == 2


def test_subset_is_stratified_and_seeded() -> None:
    labels = np.repeat([0, 1], [300, 100])
    chosen = subset(labels, 40, 7)
    assert np.bincount(labels[chosen]).tolist() == [30, 10]
    assert np.array_equal(chosen, subset(labels, 40, 7))
    assert not np.array_equal(chosen, subset(labels, 40, 8))
    assert len(subset(labels, 1000, 7)) == 400
    with pytest.raises(InvalidInput, match="at least one sample for each"):
        subset(labels, 1, 7)
