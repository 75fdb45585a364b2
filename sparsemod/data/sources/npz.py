"""Anybody's arrays from a NumPy archive: x and y, or x_train, y_train, x_test and y_test."""

import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.places import data_root
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing, InvalidInput

_KEYS = "must hold x and y, or x_train and y_train and, for an official test set, x_test and y_test"


@dataset("npz")
def npz(
    root: Path | None, path: str, layout: Literal["channels_first", "channels_last"] = "channels_first"
) -> Arrays:
    """Your own arrays: the NumPy archive `path` (absolute, or relative to `root`).

    Samples may be (N, F) vectors, (N, H, W) grey images, or (N, C, H, W) images; (N, H, W, C) with layout "channels_last".
    Labels are integers from 0, (N,) or (N, 1). Pickled content is refused. Raises DataMissing, InvalidInput.
    """
    if layout not in ("channels_first", "channels_last"):
        raise InvalidInput("dataset.options.layout", layout, "must be channels_first or channels_last")
    if not isinstance(path, str) or not path:
        raise InvalidInput("dataset.options.path", path, "the name of a .npz file")
    place = Path(path).expanduser()
    place = place if place.is_absolute() else data_root(root) / place
    if not place.is_file():
        raise DataMissing(
            "npz",
            [place.name],
            str(place.parent),
            "dataset.options.path names the file, relative to dataset.root or $SPARSEMOD_DATA",
        )
    try:
        # The file is ours to close: np.load leaves it open when it is no archive.
        with place.open("rb") as content:
            archive = np.load(content, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidInput(str(place), "a single array", f"must be a .npz archive; it {_KEYS}")
            held = {key: archive[key] for key in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(str(place), str(error), "must be a .npz archive of plain arrays") from error
    try:
        return _arrays(held, layout)
    except InvalidInput as error:
        raise error.at(source=str(place)) from None


def _arrays(held: dict[str, NDArray[Any]], layout: str) -> Arrays:
    suffix = "_train" if "x_train" in held else ""
    if f"x{suffix}" not in held or f"y{suffix}" not in held:
        raise InvalidInput("arrays", sorted(held), _KEYS)
    x, y = _samples(held[f"x{suffix}"], layout), _labels(held[f"y{suffix}"])
    if "x_test" not in held and "y_test" not in held:
        return Arrays(x, y)
    if "x_test" not in held or "y_test" not in held:
        raise InvalidInput("arrays", sorted(held), _KEYS)
    return Arrays(x, y, _samples(held["x_test"], layout), _labels(held["y_test"]))


def _samples(x: NDArray[Any], layout: str) -> NDArray[Any]:
    if x.ndim == 3:
        return x[:, None]
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 and layout == "channels_last" else x


def _labels(y: NDArray[Any]) -> NDArray[Any]:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
