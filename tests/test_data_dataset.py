"""`load`: splits, normalization, subsets, the cache, bad arrays, users' own datasets."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsemod.data import Arrays, Dataset, dataset, load
from sparsemod.data.source import DATASETS
from sparsemod.errors import DuplicateName, InvalidInput, UnknownName
from sparsemod.spec.parts import DatasetSpec, SplitsSpec


def rows(x: NDArray[np.float32]) -> set[bytes]:
    return {np.ascontiguousarray(sample).tobytes() for sample in x}


def write(path: Path, **arrays: NDArray[np.generic]) -> DatasetSpec:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return DatasetSpec(name="npz", options={"path": str(path)})


def distinct(count: int = 90, classes: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors that are all different, so that a sample can be found again."""
    return np.random.default_rng(0).random((count, 4), dtype=np.float32), np.arange(count) % classes


def test_the_test_split_is_disjoint_and_explicit(tmp_path: Path) -> None:
    x, y = distinct()
    data = load(write(tmp_path / "a.npz", x=x, y=y))
    train, validation, test = rows(data.train.x), rows(data.validation.x), rows(data.test_split().x)
    assert len(train) + len(validation) + len(test) == 90
    assert not train & validation and not (train | validation) & test
    assert not hasattr(data, "test")
    assert data.sizes == {"train": 62, "validation": 14, "test": 14} and not data.official_test


def test_an_official_test_set_is_never_mixed_in(tmp_path: Path) -> None:
    x, y = distinct()
    spec = write(tmp_path / "a.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    data = load(spec)
    assert data.official_test and data.sizes == {"train": 51, "validation": 9, "test": 30}
    assert np.array_equal(data.test_split().y, y[60:])
    assert not (rows(data.train.x) | rows(data.validation.x)) & rows(data.test_split().x)


def test_limit_is_stratified_and_leaves_an_official_test_set_whole(tmp_path: Path) -> None:
    x, y = distinct()
    spec = write(tmp_path / "a.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    data = load(spec.model_copy(update={"limit": 30}))
    assert data.sizes == {"train": 26, "validation": 4, "test": 30}


def test_equal_specs_share_one_dataset_and_a_changed_file_does_not(tmp_path: Path) -> None:
    x, y = distinct()
    spec = write(tmp_path / "a.npz", x=x, y=y)
    first = load(spec)
    assert load(DatasetSpec.model_validate(spec.model_dump())) is first
    other = load(spec.model_copy(update={"splits": SplitsSpec(seed=1)}))
    assert other is not first and not np.array_equal(other.validation.x, first.validation.x)
    np.savez(tmp_path / "a.npz", x=x + 1, y=y)
    assert load(spec) is not first


@pytest.mark.parametrize(
    ("method", "low", "high"), [("standard", None, None), ("symmetric", -1.0, 1.0), ("unit", 0.0, 1.0)]
)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_normalization_uses_the_training_split_alone(
    tmp_path: Path, method: str, low: float | None, high: float | None, kind: type[np.generic]
) -> None:
    generator = np.random.default_rng(1)
    x = generator.integers(0, 200, (60, 2, 3, 4)).astype(kind)
    x[:, 1] = 7  # a constant channel
    spec = write(tmp_path / "a.npz", x=x, y=np.arange(60) % 3)
    data = load(spec.model_copy(update={"options": {**spec.options, "normalization": method}}))
    train = data.train.x
    assert train.dtype == np.float32 and np.all(np.isfinite(train)) and len(np.unique(train[:, 1])) == 1
    if low is None:
        assert abs(train[:, 0].mean()) < 1e-5 and abs(train[:, 0].std() - 1) < 1e-5
    else:
        assert train[:, 0].min() == low and train[:, 0].max() == pytest.approx(high)
    again = data.normalization
    assert again.method == method and len(again.offset) == 2 and again.scale[1] == 1.0
    test = data.test_split().x
    raw = test[:, 0] * again.scale[0] + again.offset[0]
    assert np.allclose(raw, np.round(raw), atol=1e-3)


def test_vectors_are_normalized_per_feature(tmp_path: Path) -> None:
    x, y = distinct()
    data = load(write(tmp_path / "a.npz", x=x * np.array([1, 10, 100, 1000]), y=y))
    assert np.allclose(data.train.x.mean(axis=0), 0, atol=1e-5) and np.allclose(
        data.train.x.std(axis=0), 1, atol=1e-5
    )


def test_unknown_normalization() -> None:
    with pytest.raises(UnknownName, match="standard, symmetric, unit"):
        load(DatasetSpec(name="digits", options={"normalization": "whiten"}))


def test_tensors_share_memory() -> None:
    data = load(DatasetSpec(name="digits"))
    x, y = data.train.tensors()
    assert x.data_ptr() == data.train.x.ctypes.data and x.shape[1:] == data.info.shape
    assert data.train.tensors()[0] is x and len(y) == len(data.train)


GOOD_X, GOOD_Y = np.zeros((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"x": [[1.0]]}, "x", "numpy array"),
        ({"x": np.zeros(6)}, "x", "shape"),
        ({"x": np.zeros((6, 0))}, "x", "empty"),
        ({"x": np.zeros((6, 3), complex)}, "x", "integers or floats"),
        ({"x": np.full((6, 3), np.nan)}, "x[0, 0]", "finite"),
        ({"x": np.full((6, 3), np.inf, np.float32)}, "x[0, 0]", "finite"),
        ({"x": np.full((6, 3), -1e300)}, "x[0, 0]", "fit a float32"),
        ({"y": GOOD_Y[:5]}, "y", "6 samples"),
        ({"y": GOOD_Y.astype(float), "targets": "classes"}, "y", "integers"),
        ({"y": GOOD_Y[:, None], "targets": "classes"}, "y", "one dimension"),
        ({"y": GOOD_Y - 1}, "y", "count from 0"),
        ({"y": GOOD_Y * 2}, "y", "absent: [1, 3]"),
        (
            {"y": GOOD_Y * 10**12},
            "y",
            "absent: [1, 2, 3,",
        ),  # a list of all that are absent would not fit memory
        ({"y": GOOD_Y * 0}, "classes", "at least 2"),
        ({"classes": 2}, "y", "0..1"),
        ({"classes": 4}, "y", "absent: [3]"),
        ({"names": ("a", "b")}, "names", "3 classes"),
        ({"test_x": GOOD_X}, "test_y", "both"),
        ({"test_x": np.zeros((2, 4)), "test_y": np.array([0, 1])}, "test_x", "shape of x"),
        ({"test_x": GOOD_X[:2], "test_y": np.array([0, 3])}, "test_y", "0..2"),
    ],
)
def test_bad_arrays_name_field_and_what_is_allowed(
    changes: dict[str, object], field: str, allowed: str
) -> None:
    given = {"x": GOOD_X, "y": GOOD_Y, **changes}
    with pytest.raises(InvalidInput) as caught:
        Arrays(**given)  # type: ignore[arg-type]
    assert caught.value.field == field and allowed in caught.value.allowed


def test_too_few_samples_of_a_class_for_the_splits(tmp_path: Path) -> None:
    x, _ = distinct()
    y = np.zeros(90, int)
    y[:2] = 1
    with pytest.raises(InvalidInput, match="class 1 has too few samples") as caught:
        load(write(tmp_path / "a.npz", x=x, y=y))
    assert caught.value.field == "dataset.splits"


def test_users_bring_their_own_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_data.py").write_text(
        "import numpy as np\n"
        "from sparsemod.data import Arrays\n"
        "def blobs(root, count=60):\n"
        "    y = np.arange(count) % 2\n"
        "    return Arrays(np.random.default_rng(0).normal(y[:, None], 0.1, (count, 2)), y)\n"
        "def nothing(root):\n"
        "    return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = load(DatasetSpec(name="my_own_data:blobs", options={"count": 100}))
    assert data.info.shape == (2,) and sum(data.sizes.values()) == 100
    with pytest.raises(UnknownName, match="only a registered dataset"):
        load(DatasetSpec(name="my_own_data:blobs"), imports=False)
    with pytest.raises(
        InvalidInput, match=r"must return sparsemod\.data\.Arrays or a list of torch's data sets, not int"
    ):
        load(DatasetSpec(name="my_own_data:nothing"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "raise OSError('disk on fire')",
            r"dataset = 'far:off': with options {} .*OSError: disk on fire \(far\.py",
        ),
        (
            "return Arrays(np.zeros((4, 2)), np.arange(4) + 1)",
            r"^dataset 'far:off': y = \[1, 2, 3, 4\]: every label",
        ),
        (
            "return np.zeros(3)",
            r"dataset\.name = 'far:off': must return sparsemod\.data\.Arrays or a list of torch's data sets, not ndarray",
        ),
    ],
)
def test_errors_of_a_users_dataset_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "far.py").write_text(
        f"import numpy as np\nfrom sparsemod.data import Arrays\n\n\ndef off(root):\n    {body}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with pytest.raises(InvalidInput, match=message):
            load(DatasetSpec(name="far:off"))
    finally:
        sys.modules.pop("far", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:path", "a function that returns"),
        ("os:getcwd", "must return sparsemod.data.Arrays or a list of torch's data sets, not str"),
    ],
)
def test_objects_that_are_not_datasets_are_rejected(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"dataset\.name = '{name}': {message}"):
        load(DatasetSpec(name=name))


def test_the_decorator_registers_once() -> None:
    @dataset("test-only-rings")
    def rings(root: Path | None) -> Arrays:
        return Arrays(np.arange(80, dtype=np.float32).reshape(40, 2), np.arange(40) % 2)

    try:
        data: Dataset = load(DatasetSpec(name="test-only-rings"))
        assert data.info.name == "test-only-rings" and data.info.classes == 2
        with pytest.raises(DuplicateName):
            dataset("test-only-rings")(test_the_decorator_registers_once)  # type: ignore[type-var]
    finally:
        DATASETS._members.pop("test-only-rings")


def test_loading_needs_no_torch() -> None:
    code = (
        "import sys; from sparsemod.data import load, DATASETS; from sparsemod.spec.parts import DatasetSpec; "
        "load(DatasetSpec(name='digits')); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
