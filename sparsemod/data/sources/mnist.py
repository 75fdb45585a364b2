"""MNIST: 60,000 + 10,000 grey images of 28 x 28, ten classes (LeCun, Cortes, Burges).

The IDX files may be gzipped.
"""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.download import RemoteFile, fetch
from sparsemod.data.places import data_root, find
from sparsemod.data.source import dataset
from sparsemod.errors import InvalidInput

_DIGESTS = {
    "train-images-idx3-ubyte": "md5:6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "md5:a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "md5:2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "md5:27ae3e4e09519cfbb04c329615203637",
}
_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


@dataset("mnist", shape=(1, 28, 28), classes=10)
def mnist(root: Path | None) -> Arrays:
    """70,000 handwritten digits of 28 x 28 pixels in ten classes, 10,000 of them the official test set.

    The training data are (60000, 1, 28, 28) uint8.

    Looks for the four files, with or without `.gz`, in `root/mnist` and in `root`; downloads missing files
    into `root/mnist`.
    Raises DataMissing, DigestMismatch (downloads only), InvalidInput for files that are not IDX.
    """
    base = data_root(root)
    paths = {name: find(base, ["mnist"], [name, f"{name}.gz"]) for name in _DIGESTS}
    absent = [name for name, path in paths.items() if path is None]
    remote = [
        RemoteFile(f"{name}.gz", tuple(f"{m}{name}.gz" for m in _MIRRORS), _DIGESTS[name], unpacked=True)
        for name in absent
    ]
    paths.update(zip(absent, fetch("mnist", remote, base / "mnist"), strict=True))
    train_x, train_y, test_x, test_y = (read_idx(path) for path in paths.values() if path is not None)
    for field, images in (("train images", train_x), ("test images", test_x)):
        if images.ndim != 3:
            raise InvalidInput(
                field, images.shape, "MNIST's images are three-dimensional: (N, height, width)"
            )
    return Arrays(train_x[:, None], train_y, test_x[:, None], test_y, classes=10, names=tuple("0123456789"))


def read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file (gzipped if its name ends in .gz) as an array in native byte order.

    Raises InvalidInput, which names the file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(str(path), str(error), "must be a complete gzip file") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise InvalidInput(
            str(path), content[:4].hex(), "must begin with IDX's magic number (0000, type, dimensions)"
        )
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise InvalidInput(
            str(path), len(content), f"an IDX header of {dimensions} dimensions takes {start} bytes"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    kind = _TYPES[content[2]]
    expected = start + kind.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise InvalidInput(str(path), len(content), f"an IDX file of shape {shape} takes {expected} bytes")
    stored: NDArray[Any] = np.frombuffer(content, kind, offset=start).reshape(shape)
    return stored.astype(kind.newbyteorder("="))
