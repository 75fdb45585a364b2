"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, values 0..16, ten classes.

Source: UCI optdigits, test part.
"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from sparsemod.data.arrays import Arrays
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing


@dataset("digits", shape=(1, 8, 8), classes=10)
def digits(root: Path | None) -> Arrays:
    """1,797 handwritten digits of 8 x 8 pixels in ten classes, included in scikit-learn.

    Returns (1797, 1, 8, 8) uint8 samples without an official test set. Ignores `root`. Raises DataMissing.
    """
    with gzip.open(_bundled(), "rt", encoding="ascii") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.int64)
    images = table[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)
    return Arrays(images, table[:, -1], classes=10, names=tuple("0123456789"))


def _bundled() -> Path:
    # Read scikit-learn's file directly: importing sklearn.datasets takes 1 s, reading the file 0.02 s.
    spec = importlib.util.find_spec("sklearn")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    for place in places:
        path = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    raise DataMissing(
        "digits",
        ["datasets/data/digits.csv.gz"],
        places[0] if places else "site-packages/sklearn",
        "install scikit-learn again",
    )
