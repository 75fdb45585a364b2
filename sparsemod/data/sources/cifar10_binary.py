"""CIFAR10-binary of uNAS (Liberis et al., EuroMLSys 2021): CIFAR-10's images with label = (class < 5).

Bonsai and SpArSe use a different dataset of the same name (20 x 20 grey images).
"""

from pathlib import Path

import numpy as np

from sparsemod.data.arrays import Arrays
from sparsemod.data.source import dataset
from sparsemod.data.sources.cifar10 import NAMES, cifar10


@dataset("cifar10-binary", shape=(3, 32, 32), classes=2)
def cifar10_binary(root: Path | None) -> Arrays:
    """CIFAR-10's images in two classes: the first five against the others.

    Uses the files and raises the errors of `cifar10`.
    """
    ten = cifar10(root)
    test_y = None if ten.test_y is None else (ten.test_y < 5).astype(np.int64)
    return Arrays(
        ten.x,
        (ten.y < 5).astype(np.int64),
        ten.test_x,
        test_y,
        classes=2,
        names=("/".join(NAMES[5:]), "/".join(NAMES[:5])),
    )
