"""The built-in datasets, read from their canonical files."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from support_data import cifar_bytes, idx_bytes, real_mnist, write_cifar, write_mnist

from sparsemod.data import DATASETS, load
from sparsemod.data.sources.cifar10 import FILES, cifar10
from sparsemod.data.sources.cifar10_binary import cifar10_binary
from sparsemod.data.sources.cifar100 import NAMES, cifar100
from sparsemod.data.sources.digits import digits
from sparsemod.data.sources.mnist import mnist, read_idx
from sparsemod.data.sources.npz import npz
from sparsemod.errors import DataMissing, InvalidInput, UnknownName
from sparsemod.spec.parts import DatasetSpec


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_OFFLINE", "1")


def test_all_are_registered() -> None:
    assert {"digits", "mnist", "cifar10", "cifar10-binary", "cifar100", "npz"} <= set(DATASETS.names())


def test_digits_equal_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    reference = load_digits()
    ours = digits(None)
    assert ours.shape == (1, 8, 8) and ours.x.dtype == np.uint8 and ours.class_count == 10
    assert np.array_equal(ours.x[:, 0], reference.images)
    assert np.array_equal(ours.y, reference.target)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("folder", ["mnist", "."])
def test_mnist_from_idx_files(tmp_path: Path, packed: bool, folder: str) -> None:
    images, labels = write_mnist(tmp_path / folder, packed=packed)
    arrays = mnist(tmp_path)
    assert np.array_equal(arrays.x[:, 0], images) and np.array_equal(arrays.y, labels)
    assert arrays.test_x is not None and arrays.test_x.shape == (20, 1, 28, 28)


def test_idx_types_and_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    values = np.array([[1, -2], [300, 4]], dtype=">i4")
    path.write_bytes(bytes([0, 0, 0x0C, 2]) + np.array([2, 2], ">u4").tobytes() + values.tobytes())
    read = read_idx(path)
    assert read.tolist() == [[1, -2], [300, 4]] and read.dtype.isnative


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number"),
        (b"PNG\0\0\0", "magic number"),
        (bytes([0, 0, 8, 3, 0]), "header of 3 dimensions takes 16 bytes"),
        (idx_bytes(np.zeros((3, 4)))[:-1], r"shape \(3, 4\) takes 24 bytes"),
    ],
)
def test_broken_idx_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        read_idx(path)
    assert caught.value.field == str(path)


def test_a_broken_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(InvalidInput, match="complete gzip file"):
        read_idx(path)


def test_missing_mnist_names_files_place_and_way(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataMissing) as caught:
        mnist(tmp_path)
    assert caught.value.files == ("t10k-labels-idx1-ubyte.gz",)
    assert caught.value.place == str(tmp_path / "mnist")
    for part in ("SPARSEMOD_DATA", "SPARSEMOD_OFFLINE", "https://"):
        assert part in str(caught.value)


@pytest.mark.parametrize("folder", ["cifar10", "cifar10/cifar-10-batches-bin", "cifar-10-batches-bin", "."])
def test_cifar10_from_binary_records(tmp_path: Path, folder: str) -> None:
    write_cifar(tmp_path / folder)
    arrays = cifar10(tmp_path)
    assert arrays.x.shape == (100, 3, 32, 32) and arrays.class_count == 10
    first = np.frombuffer(cifar_bytes(20, 1), np.uint8).reshape(20, 3073)
    assert np.array_equal(arrays.x[0].reshape(-1), first[0, 1:])
    assert arrays.test_y is not None and arrays.test_y.tolist() == [i % 10 for i in range(20)]


def test_cifar10_binary_means_class_below_five(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar10")
    ten, two = cifar10(tmp_path), cifar10_binary(tmp_path)
    assert two.class_count == 2 and np.array_equal(two.x, ten.x)
    assert np.array_equal(two.y, ten.y < 5)
    assert ten.test_y is not None and two.test_y is not None and np.array_equal(two.test_y, ten.test_y < 5)


@pytest.mark.parametrize("folder", ["cifar100", "cifar100/cifar-100-binary", "cifar-100-binary"])
def test_cifar100_has_the_fine_classes(tmp_path: Path, folder: str) -> None:
    records = np.random.default_rng(0).integers(0, 256, (102, 3074), dtype=np.uint8)
    records[:, 0] = 19  # the coarse label
    records[:100, 1], records[100:, 1] = np.arange(99, -1, -1), [1, 54]
    (tmp_path / folder).mkdir(parents=True)
    for name, part in (("train.bin", records[:100]), ("test.bin", records[100:])):
        part.tofile(tmp_path / folder / name)
    arrays = cifar100(tmp_path)
    assert arrays.y.tolist() == list(range(99, -1, -1))
    assert arrays.test_y is not None and arrays.test_y.tolist() == [1, 54]
    assert np.array_equal(arrays.x[1].reshape(-1), records[1, 2:]) and arrays.x.shape == (100, 3, 32, 32)
    assert arrays.classes == len(set(NAMES)) == 100 and list(NAMES) == sorted(NAMES)
    records[100, 1] = 100
    records[100:].tofile(tmp_path / folder / "test.bin")
    with pytest.raises(InvalidInput, match=r"the second byte of each record is a label 0\.\.99"):
        cifar100(tmp_path)


def test_broken_cifar_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(cifar_bytes(2, 0)[:-1])
    with pytest.raises(InvalidInput, match="multiple of 3073"):
        FILES.records(path)
    path.write_bytes(bytes([10]) + cifar_bytes(1, 0)[1:])
    with pytest.raises(InvalidInput, match=r"label 0\.\.9"):
        FILES.records(path)


def test_missing_cifar_names_the_archive(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"cifar-10-binary\.tar\.gz"):
        cifar10(tmp_path)


def test_one_missing_cifar_file_is_named(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(
        DataMissing, match=r"missing data_batch_3\.bin in .*; the other files are there; their archive"
    ):
        cifar10(tmp_path)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "cifar10"
    write_cifar(place)
    with tarfile.open(place / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(place / "test_batch.bin", "cifar-10-batches-bin/test_batch.bin")
    for number in range(1, 6):
        (place / f"data_batch_{number}.bin").unlink()
    with pytest.raises(InvalidInput, match="must hold these files"):
        cifar10(tmp_path)


def test_an_archive_is_unpacked_by_name_only(tmp_path: Path) -> None:
    source, place = tmp_path / "source", tmp_path / "root" / "cifar10"
    write_cifar(source)
    place.mkdir(parents=True)
    with tarfile.open(place / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for path in sorted(source.iterdir()):
            tar.add(path, f"../../outside/{path.name}")
    assert len(cifar10(tmp_path / "root").x) == 100
    assert sorted(p.name for p in place.iterdir()) == sorted(p.name for p in source.iterdir())
    assert not (tmp_path / "outside").exists()


def test_npz_with_official_test_set_and_layouts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    grey = generator.random((12, 5, 6), dtype=np.float32)
    colour = generator.random((12, 5, 6, 3), dtype=np.float32)
    y = np.arange(12)[:, None] % 3
    np.savez(tmp_path / "grey.npz", x_train=grey, y_train=y, x_test=grey[:4], y_test=y[:4])
    np.savez_compressed(tmp_path / "colour.npz", x=colour, y=y)
    first = npz(tmp_path, "grey.npz")
    assert (
        first.shape == (1, 5, 6) and first.test_x is not None and len(first.test_x) == 4 and first.y.ndim == 1
    )
    second = npz(None, str(tmp_path / "colour.npz"), layout="channels_last")
    assert second.shape == (3, 5, 6) and np.array_equal(second.x[:, 1], colour[..., 1])


def test_bad_npz_files(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"absent\.npz"):
        npz(tmp_path, "absent.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InvalidInput, match="archive of plain arrays"):
        npz(tmp_path, "text.npz")
    np.savez(tmp_path / "keys.npz", images=np.zeros(3))
    with pytest.raises(InvalidInput, match="must hold x and y"):
        npz(tmp_path, "keys.npz")
    np.savez(tmp_path / "half.npz", x=np.zeros((4, 2)), y=np.arange(4) % 2, x_test=np.zeros((1, 2)))
    with pytest.raises(InvalidInput, match="x_test and y_test"):
        npz(tmp_path, "half.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}], dtype=object), y=np.arange(2))
    with pytest.raises(InvalidInput, match="archive of plain arrays"):
        npz(tmp_path, "objects.npz")
    with pytest.raises(InvalidInput, match="channels_first, channels_last"):
        npz(tmp_path, "keys.npz", layout="NHWC")  # type: ignore[arg-type]
    np.save(tmp_path / "single.npy", np.zeros((4, 2)))
    with pytest.raises(InvalidInput, match=r"single\.npy = 'a single array': must be a \.npz archive"):
        npz(tmp_path, "single.npy")
    for path in (3, True, ""):
        with pytest.raises(InvalidInput, match=r"dataset\.options\.path = .*the name of a \.npz file"):
            npz(tmp_path, path)  # type: ignore[arg-type]
    # Cut in the middle: neither a traceback nor a file left open (which would be a warning, an error here).
    whole = (tmp_path / "half.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"cut\.npz = .*archive of plain arrays"):
        npz(tmp_path, "cut.npz")


def test_errors_inside_an_npz_file_name_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "words.npz", x=np.array([["a"], ["b"]]), y=np.arange(2))
    with pytest.raises(InvalidInput, match=r"words\.npz: x = '<U1': must hold integers or floats"):
        npz(tmp_path, "words.npz")


def test_errors_of_unknown_names_and_options_list_the_existing_ones() -> None:
    with pytest.raises(UnknownName, match="digits, folder, gestures, mnist, npz"):
        load(DatasetSpec(name="imagenet"))
    with pytest.raises(InvalidInput, match="digits takes normalization"):
        load(DatasetSpec(name="digits", options={"size": 9}))
    with pytest.raises(InvalidInput, match="missing a required argument: 'path'"):
        load(DatasetSpec(name="npz"))


def test_the_real_mnist() -> None:
    root = real_mnist()
    data = load(DatasetSpec(name="mnist", root=str(root)))
    assert data.sizes == {"train": 51_000, "validation": 9_000, "test": 10_000} and data.official_test
    assert data.info.shape == (1, 28, 28)
    counts = np.bincount(data.test_split().y)
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize("layout", ["channels-length", "time-features"])
def test_sequences_from_an_archive(layout: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3, 20)) * [[[1.0], [5.0], [0.2]]] + 2
    np.savez(tmp_path / "steps.npz", x=x, y=np.arange(60) % 2)
    options = {"path": str(tmp_path / "steps.npz"), "layout": layout}
    data = load(DatasetSpec(name="npz", options=options))
    assert data.info.shape == (3, 20) and data.info.layout == layout
    assert data.train.x.shape[1:] == (3, 20)
    # One pair of constants for each channel: the first axis, or the last one.
    axes = (0, 2) if layout == "channels-length" else (0, 1)
    assert np.abs(data.train.x.mean(axis=axes)).max() < 1e-5
    assert np.abs(data.train.x.std(axis=axes) - 1).max() < 1e-5
    with pytest.raises(InvalidInput, match="layout"):
        np.savez(tmp_path / "steps.npz", x=x[:, 0], y=np.arange(60) % 2)
        load(DatasetSpec(name="npz", options=options))
