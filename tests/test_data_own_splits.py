"""Splits that a dataset brings, and groups that stay whole."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemod.data import Arrays, load
from sparsemod.data.sources.npz import npz
from sparsemod.data.splits import grouped
from sparsemod.errors import InvalidInput
from sparsemod.spec.parts import DatasetSpec, SplitsSpec

RNG = np.random.default_rng(0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(9, 40), st.integers(2, 4))
def test_groups_are_never_divided(seed: int, subjects: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(subjects), rng.integers(classes, 3 * classes, subjects))
    first = np.r_[True, np.diff(groups) > 0]
    since = np.arange(len(groups)) - np.maximum.accumulate(np.where(first, np.arange(len(groups)), 0))
    labels = since % classes  # every subject has every class
    parts = grouped(labels, groups, {"validation": 0.2, "test": 0.2}, seed)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(labels)))
    of = {name: set(groups[indices]) for name, indices in parts.items()}
    assert (
        not of["train"] & of["validation"]
        and not of["train"] & of["test"]
        and not of["test"] & of["validation"]
    )
    assert all(len(set(labels[indices])) == classes for indices in parts.values())
    largest = np.bincount(groups).max()
    assert abs(len(parts["validation"]) - 0.2 * len(labels)) <= largest
    again = grouped(labels, groups, {"validation": 0.2, "test": 0.2}, seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_classes_that_only_some_groups_have_reach_every_part() -> None:
    """Ten patients with a disease and thirty without: each patient has one class."""
    groups = np.repeat(np.arange(40), 5)
    labels = (groups < 10).astype(np.int64)
    for seed in range(5):
        parts = grouped(labels, groups, {"validation": 0.15, "test": 0.15}, seed)
        assert all(0.15 < labels[indices].mean() < 0.35 for indices in parts.values())


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1], "2 groups.*: at least one group for each of validation, test, train"),
        ([0] * 6 + [1] * 2, [0, 0, 1, 1, 2, 2, 0, 1], "class 1 occurs in 2 groups"),
    ],
)  # fmt: skip
def test_too_few_groups_are_refused(labels: list[int], groups: list[int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        grouped(np.array(labels), np.array(groups), {"validation": 0.2, "test": 0.2}, 0)


def test_subjects_of_an_npz_file_do_not_leak(tmp_path: Path) -> None:
    subject = np.repeat(np.arange(20), 12)
    x = np.stack([subject, RNG.normal(size=240)], axis=1)
    np.savez(tmp_path / "gestures.npz", x=x, y=np.arange(240) % 3, groups=subject.astype(str))
    spec = DatasetSpec(name="npz", root=str(tmp_path), options={"path": "gestures.npz"})
    data = load(spec)
    known = {
        split.name: set(np.round(split.x[:, 0], 3))
        for split in (data.train, data.validation, data.test_split())
    }
    assert data.groups == {"train": 14, "validation": 3, "test": 3}
    assert data.groups == {name: len(values) for name, values in known.items()}
    assert len(set.union(*known.values())) == 20, "no subject is in two splits"
    limited = load(spec.model_copy(update={"limit": 120}))
    assert sum(limited.sizes.values()) == 120 and limited.groups is not None


def test_an_own_validation_split_is_taken_as_it_is(tmp_path: Path) -> None:
    x, y = np.arange(90, dtype=float)[:, None], np.arange(90) % 3
    own = {"x_val": x[:30] + 1000, "y_val": y[:30]}
    path = tmp_path / "own.npz"
    np.savez(path, x_train=x, y_train=y, **own)
    spec = DatasetSpec(name="npz", options={"path": str(path)}, splits=SplitsSpec(test=0.2))
    data = load(spec)
    assert data.sizes == {"train": 72, "validation": 30, "test": 18} and data.own_validation
    raw = data.validation.x[:, 0] * data.normalization.scale[0] + data.normalization.offset[0]
    np.testing.assert_allclose(raw, x[:30, 0] + 1000, rtol=1e-6)
    assert data.normalization.offset[0] < 90, "constants come from the training split"
    np.savez(path, x_train=x, y_train=y, **own, x_test=x[:9], y_test=y[:9])
    assert load(spec).sizes == {"train": 90, "validation": 30, "test": 9}
    np.savez(path, x_train=x, y_train=y, x_val=x)
    with pytest.raises(InvalidInput, match="a validation set x_val and y_val"):
        load(spec)


X, Y = np.zeros((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"val_x": X}, "val_y", "a validation set needs both"),
        ({"val_x": np.zeros((2, 4)), "val_y": np.array([0, 1])}, "val_x", "shape of x"),
        ({"val_x": X[:2], "val_y": np.array([0, 3])}, "val_y", "0..2"),
        ({"groups": [1] * 6}, "groups", "numpy array"),
        ({"groups": np.zeros(5, int)}, "groups", "each of the 6 samples"),
        ({"groups": np.zeros(6)}, "groups", "integers or text"),
    ],
)
def test_bad_own_splits_name_field_and_what_is_allowed(
    changes: dict[str, object], field: str, allowed: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        Arrays(X, Y, **changes)  # type: ignore[arg-type]
    assert caught.value.field == field and allowed in caught.value.allowed


@pytest.mark.parametrize("shape", [(8, 32, 3), (32, 32, 1), (28, 28, 4)])
def test_a_missing_layout_gives_a_hint(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((6, *shape)), y=Y)
    first, rows, columns = shape
    with pytest.raises(
        InvalidInput,
        match=f"channels_first if these are {first} channels of {rows} x {columns}, channels_last",
    ) as caught:
        npz(tmp_path, "a.npz")
    assert caught.value.field == "dataset.options.layout"
    assert npz(tmp_path, "a.npz", layout="channels_last").shape == (columns, first, rows)
    assert npz(tmp_path, "a.npz", layout="channels_first").shape == shape


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 4, 4), (16, 8, 8)])
def test_a_stated_layout_gives_no_hint(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((6, *shape)), y=Y)
    assert npz(tmp_path, "a.npz").shape == shape
