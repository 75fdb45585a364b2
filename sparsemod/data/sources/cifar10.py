"""CIFAR-10: 50,000 + 10,000 colour images of 32 x 32, ten classes (Krizhevsky), from the binary version."""

from pathlib import Path

from sparsemod.data.arrays import Arrays
from sparsemod.data.cifar_records import CifarFiles
from sparsemod.data.download import RemoteFile
from sparsemod.data.source import dataset

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = CifarFiles(
    "cifar10",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    inside="cifar-10-batches-bin",
    archive=RemoteFile(
        "cifar-10-binary.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
    ),
    labels=1,
    classes=NAMES,
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
    return FILES.read(root)
