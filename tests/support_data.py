"""Tiny files in the layouts of published datasets, and the place of the real ones."""

import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


def real_data_root() -> Path:
    """The folder of the real datasets."""
    named = os.environ.get("SPARSEMOD_TEST_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "datasets"


def real_mnist() -> Path:
    """Return the data root that holds MNIST; skip the test without it."""
    root = real_data_root()
    if not (root / "mnist" / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip(
            f"SKIPPED LOUDLY: no MNIST in {root / 'mnist'}; set SPARSEMOD_TEST_DATA to the folder above mnist/"
        )
    return root


def real_vowels() -> Path:
    """Return the data root that holds Japanese Vowels; skip the test without it."""
    root = real_data_root()
    if not (root / "japanese-vowels" / "ae.train").is_file():
        place = root / "japanese-vowels"
        pytest.skip(
            f"SKIPPED LOUDLY: no Japanese Vowels in {place}; set SPARSEMOD_TEST_DATA to the folder above it"
        )
    return root


def idx_bytes(array: NDArray[Any]) -> bytes:
    """A uint8 array as an IDX file."""
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(np.uint8).tobytes()
    )


def write_mnist(
    folder: Path, train: int = 60, test: int = 20, *, packed: bool = True
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Four small IDX files; returns training images and labels (each class occurs equally often)."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    held = []
    for part, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = idx_bytes(array)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
        held.append((images, labels))
    return held[0]


def cifar_bytes(count: int, seed: int) -> bytes:
    """Records of CIFAR-10's binary layout with all ten labels in turn."""
    records = np.random.default_rng(seed).integers(0, 256, (count, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(count) % 10
    return records.tobytes()


def write_cifar(folder: Path, per_file: int = 20) -> None:
    """Six small files of CIFAR-10's binary layout."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(cifar_bytes(per_file, number))
    (folder / "test_batch.bin").write_bytes(cifar_bytes(per_file, 9))
