"""Targets of data sets: text, values, labels, normal samples and maps, from arrays and files."""

import numpy as np
import pytest

from sparsemod.data import Arrays, load
from sparsemod.errors import InvalidInput
from sparsemod.spec.parts import DatasetSpec

X = np.arange(240, dtype=np.float32).reshape(60, 4)
WORDS = np.array(["left", "right", "still"])[np.arange(60) % 3]


def npz(folder, targets, **arrays):
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return load(DatasetSpec(name="npz", options={"path": str(path)}), targets=targets)


def test_text_becomes_classes_in_alphabetical_order():
    arrays = Arrays(X, WORDS)
    assert arrays.names == ("left", "right", "still") and arrays.class_count == 3
    assert arrays.y[:3].tolist() == [0, 1, 2]
    named = Arrays(
        X, WORDS, names=("still", "left", "right"), test_x=X[:2], test_y=np.array(["right", "still"])
    )
    assert named.y[:3].tolist() == [1, 2, 0] and named.test_y.tolist() == [2, 0]
    with pytest.raises(InvalidInput, match="one of the names: left, right"):
        Arrays(X, WORDS, names=("left", "right"))


def test_text_in_a_file(tmp_path):
    data = npz(tmp_path, "classes", x=X, y=WORDS)
    assert data.names == ("left", "right", "still")
    assert all(len(np.unique(split.y)) == 3 for split in (data.train, data.validation, data.test_split()))


@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 2)])
def test_values(tmp_path, shape):
    y = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    data = npz(tmp_path, "values", x=X, y=y)
    assert data.train.y.dtype == np.float32
    assert data.train.y.shape == (42, shape[1] if len(shape) > 1 else 1)
    assert data.info.outputs == (data.train.y.shape[1],)


def test_whole_numbers_are_values_for_a_regression(tmp_path):
    data = npz(tmp_path, "values", x=X, y=np.arange(60) * 3)
    assert data.train.y.shape == (42, 1)


def test_labels(tmp_path):
    y = np.stack([np.arange(60) % 2, np.arange(60) % 3 == 0], axis=1)
    data = npz(tmp_path, "labels", x=X, y=y, names=np.array(["odd", "third"]))
    assert data.train.y.dtype == np.float32 and data.names == ("odd", "third")


def test_normal_data_may_have_no_anomaly_in_training(tmp_path):
    zeros, both = np.zeros(60, np.int64), np.arange(20) % 2
    data = npz(tmp_path, "normal", x=X, y=zeros, x_test=X[:20], y_test=both, x_val=X[:20], y_val=both)
    assert not data.train.y.any() and len(data.train) == 60
    assert data.names == ("normal", "anomalous")


def test_a_class_at_each_position(tmp_path):
    masks = np.zeros((60, 2, 2), np.int64)
    masks[:, 0, 0] = 2
    data = npz(
        tmp_path,
        "pixels",
        x=np.zeros((60, 1, 4, 4), np.float32) + np.arange(60)[:, None, None, None],
        y=masks,
    )
    assert data.info.classes == 3 and data.info.outputs == (3, 2, 2)
    assert data.validation.y.shape == (9, 2, 2)


@pytest.mark.parametrize(
    ("targets", "y"),
    [
        ("classes", np.linspace(0, 1, 60)),
        ("pixels", np.arange(60) % 2),
        ("normal", np.arange(60) % 3),
        ("labels", np.arange(60) % 2),
    ],
)
def test_targets_of_another_task_are_refused(tmp_path, targets, y):
    with pytest.raises(InvalidInput) as caught:
        npz(tmp_path, targets, x=X, y=y)
    assert "y" in caught.value.field


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_must_be_finite(value):
    y = np.ones((60, 2))
    y[7, 1] = value
    with pytest.raises(InvalidInput, match=r"y\[7, 1\]"):
        Arrays(X, y)


def table(folder, targets, label):
    path = folder / "data.csv"
    rows = [f"{i},{i * 2},{i % 2},{i / 7},{int(i > 50)}" for i in range(60)]
    path.write_text("\n".join(["a,b,flag,level,odd", *rows]))
    return load(
        DatasetSpec(name="csv", options={"path": str(path), "label": label, "ignore": ""}), targets=targets
    )


def test_columns_of_a_table(tmp_path):
    values = table(tmp_path, "values", "b, level")
    assert values.names == ("b", "level") and values.info.shape == (3,)
    labels = table(tmp_path, "labels", "flag, odd")
    assert labels.names == ("flag", "odd") and set(np.unique(labels.train.y)) == {0.0, 1.0}
    normal = table(tmp_path, "normal", "odd")
    assert normal.names == ("normal", "anomalous") and not normal.train.y.any()
    with pytest.raises(InvalidInput, match="a dataset of images"):
        table(tmp_path, "pixels", "flag")


@pytest.mark.parametrize(
    ("targets", "told"),
    [("normal", r"y = \[0, 1, 2, .*\]"), ("labels", r"y of shape \(1797,\)"), ("pixels", r"y of shape \(1797,\)")],
)  # fmt: skip
def test_a_dataset_with_other_targets_is_named_with_what_the_task_needs(targets, told):
    with pytest.raises(
        InvalidInput, match=rf"dataset\.name = 'digits': the task needs .*; it has .*; {told}$"
    ):
        load(DatasetSpec(name="digits"), targets=targets)
