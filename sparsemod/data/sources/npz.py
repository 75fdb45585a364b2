"""Anybody's arrays from a NumPy archive: x and y, or x_train, y_train, with x_val, y_val, x_test, y_test and groups where there are any."""

import zipfile
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays, looks_channels_last
from sparsemod.data.places import data_root
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing, InvalidInput

_KEYS = (
    "must hold x and y, or x_train and y_train; for an own validation set x_val and y_val, for an official test set x_test and y_test, "
    "for samples that belong together groups"
)
Layout = Literal["channels_first", "channels_last", "channels-length", "time-features"]
_LAYOUTS = get_args(Layout)
_SEQUENCES = ("channels-length", "time-features")


@dataset("npz")
def npz(root: Path | None, path: str, layout: Layout | None = None) -> Arrays:
    """Your own arrays: the NumPy archive `path` (absolute, or relative to `root`).

    Samples may be (N, F) vectors, (N, H, W) grey images, or images (N, C, H, W) or, with layout "channels_last", (N, H, W, C). Images whose
    shape looks like the other layout need `layout`. Sequences are (N, C, L) with layout "channels-length", (N, T, F) with "time-features".
    Labels are integers from 0, (N,) or (N, 1). `x_val` and `y_val` are an own validation
    split, `x_test` and `y_test` an official test set, `groups` (N,) says which samples stay together in one split.
    Pickled content is refused. Raises DataMissing, InvalidInput.
    """
    if layout is not None and layout not in _LAYOUTS:
        raise InvalidInput("dataset.options.layout", layout, f"must be one of {', '.join(_LAYOUTS)}")
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


def _arrays(held: dict[str, NDArray[Any]], layout: str | None) -> Arrays:
    suffix = "_train" if "x_train" in held else ""
    if f"x{suffix}" not in held or f"y{suffix}" not in held:
        raise InvalidInput("arrays", sorted(held), _KEYS)
    x, y = _samples(held[f"x{suffix}"], layout), _labels(held[f"y{suffix}"])
    own: dict[str, Any] = {}
    for part in ("val", "test"):
        present = [key for key in (f"x_{part}", f"y_{part}") if key in held]
        if len(present) == 1:
            raise InvalidInput("arrays", sorted(held), _KEYS)
        if present:
            own[f"{part}_x"] = _samples(held[f"x_{part}"], layout)
            own[f"{part}_y"] = _labels(held[f"y_{part}"])
    groups = held.get(f"groups{suffix}", held.get("groups"))
    named = layout if layout in _SEQUENCES else None
    return Arrays(x, y, groups=None if groups is None else _labels(groups), layout=named, **own)


def _samples(x: NDArray[Any], layout: str | None) -> NDArray[Any]:
    if layout in _SEQUENCES:
        return x
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4:
        return x
    if layout is None and looks_channels_last(x.shape[1:]):
        first, rows, columns = x.shape[1:]
        raise InvalidInput(
            "dataset.options.layout",
            None,
            f"needed for samples of shape {x.shape[1:]}: channels_first if these are {first} channels of {rows} x {columns}, "
            f"channels_last if they are {first} x {rows} with {columns} channels",
        )
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if layout == "channels_last" else x


def _labels(y: NDArray[Any]) -> NDArray[Any]:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
