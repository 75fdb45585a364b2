"""CIFAR-10: 50,000 + 10,000 colour images of 32 x 32, ten classes (Krizhevsky), from the binary version.

A record is one label byte and 3,072 pixel bytes: red, green, blue, each 32 rows of 32.
"""

import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.download import PARTIAL, RemoteFile, fetch
from sparsemod.data.places import data_root, find
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing, InvalidInput
from sparsemod.files import NewFile

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_RECORD = 1 + 3 * 32 * 32
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_FOLDERS = ("cifar10", "cifar10/cifar-10-batches-bin", "cifar-10-batches-bin")
_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
)


@dataset("cifar10", shape=(3, 32, 32), classes=10)
def cifar10(root: Path | None) -> Arrays:
    """60,000 colour images of 32 x 32 pixels in ten classes, 10,000 of them the official test set.

    The training data are (50000, 3, 32, 32) uint8.

    Looks for data_batch_1.bin ... data_batch_5.bin and test_batch.bin in `root/cifar10`, in
    `cifar-10-batches-bin` below `root/cifar10` and below `root`, and in `root`; downloads the archive if a
    file is missing. Only the structure of local files is checked, so re-encoded or shortened copies work.
    Raises DataMissing, DigestMismatch (downloads only), InvalidInput for files without such records.
    """
    base = data_root(root)
    paths = _local(base)
    absent = [name for name, path in zip((*_TRAIN, _TEST), paths, strict=True) if path is None]
    if absent:
        try:
            _download(base)
        except DataMissing as error:
            folder = next((path.parent for path in paths if path is not None), None)
            if folder is None:
                raise
            hint = f"the other files are there; their archive {error.hint}"
            raise DataMissing("cifar10", absent, str(folder), hint) from error
        paths = _local(base)
    parts = [read_records(path) for path in paths if path is not None]
    train_x = np.concatenate([x for x, _ in parts[:-1]])
    train_y = np.concatenate([y for _, y in parts[:-1]])
    return Arrays(train_x, train_y, *parts[-1], classes=10, names=NAMES)


def read_records(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images (N, 3, 32, 32) and labels (N,) from one file. Raises InvalidInput, which names the file."""
    content = np.fromfile(path, dtype=np.uint8)
    if len(content) == 0 or len(content) % _RECORD:
        raise InvalidInput(
            str(path), len(content), f"its size must be a positive multiple of {_RECORD} bytes (one record)"
        )
    records = content.reshape(-1, _RECORD)
    highest = int(records[:, 0].max())
    if highest > 9:
        raise InvalidInput(str(path), highest, "the first byte of each record is a label 0..9")
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def _local(base: Path) -> list[Path | None]:
    return [find(base, _FOLDERS, [name]) for name in (*_TRAIN, _TEST)]


def _download(base: Path) -> None:
    place = base / "cifar10"
    (archive,) = fetch("cifar10", [_ARCHIVE], place)
    wanted = {*_TRAIN, _TEST}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            content = tar.extractfile(member) if name in wanted else None
            if content is None:
                continue
            with NewFile(place / name, suffix=PARTIAL) as out:
                out.write(content.read())
                out.place()
            wanted.discard(name)
    if wanted:
        raise InvalidInput(str(archive), sorted(wanted), "the archive must hold these files")
    archive.unlink()
