"""A user's arrays from a NumPy archive.

It holds x and y, or x_train and y_train; optionally x_val, y_val, x_test, y_test and groups. For sequences of
different lengths it also holds `lengths` or `mask` with the suffix of each x.
"""

import zipfile
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays, looks_channels_last
from sparsemod.data.padding import lengths_of_mask
from sparsemod.data.places import data_root
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing, InvalidInput
from sparsemod.spec.methods import Targets

_KEYS = (
    "must hold x and y, or x_train and y_train; optionally a validation set x_val and y_val, an official test set x_test and y_test, "
    "and groups of samples that belong together; for sequences, lengths or mask beside each x"
)
Layout = Literal["channels_first", "channels_last", "channels-length", "time-features"]
_LAYOUTS = get_args(Layout)
_SEQUENCES = ("channels-length", "time-features")


@dataset("npz")
def npz(root: Path | None, path: str, layout: Layout | None = None, targets: Targets | None = None) -> Arrays:
    """Your own arrays: the NumPy archive `path` (absolute, or relative to `root`).

    Samples are (N, F) vectors, (N, H, W) grey images, (N, C, H, W) images or, with layout "channels_last",
    (N, H, W, C) images. `layout` is required when the shape looks channels last. Sequences are (N, C, L) with
    layout "channels-length", (N, T, F) with "time-features". Labels are integers from 0 or text, (N,) or
    (N, 1); other tasks have other targets `y`, see `sparsemod.data.Arrays`; the spec's task chooses `targets`. `names`
    holds the names of the classes, labels or values.
    `x_val` and `y_val` are the dataset's own validation split, `x_test` and `y_test` the official test set.
    Sequences of different lengths are padded: `lengths` (N,) says how many steps of each are valid, or `mask` (N, T)
    is true for them; `lengths_val` and `lengths_test`, or `mask_val` and `mask_test`, go with the other splits.
    `groups` (N,) names the group of each sample; a group stays in one split. Pickled content is rejected.
    Raises DataMissing, InvalidInput.
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
        # Open and close the file here: np.load leaves it open when it is not an archive.
        with place.open("rb") as content:
            archive = np.load(content, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidInput(str(place), "a single array", f"must be a .npz archive; it {_KEYS}")
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(str(place), str(error), "must be a .npz archive of plain arrays") from error
    try:
        return _arrays(arrays, layout, targets)
    except InvalidInput as error:
        raise error.at(source=str(place)) from None


def _arrays(arrays: dict[str, NDArray[Any]], layout: str | None, targets: Targets | None) -> Arrays:
    suffix = "_train" if "x_train" in arrays else ""
    if f"x{suffix}" not in arrays or f"y{suffix}" not in arrays:
        raise InvalidInput("arrays", sorted(arrays), _KEYS)
    x, y = _samples(arrays[f"x{suffix}"], layout), _labels(arrays[f"y{suffix}"])
    own: dict[str, Any] = {"lengths": _lengths(arrays, suffix)}
    if suffix and own["lengths"] is None:
        own["lengths"] = _lengths(arrays, "")
    for part in ("val", "test"):
        present = [key for key in (f"x_{part}", f"y_{part}") if key in arrays]
        if len(present) == 1:
            raise InvalidInput("arrays", sorted(arrays), _KEYS)
        if present:
            own[f"{part}_x"] = _samples(arrays[f"x_{part}"], layout)
            own[f"{part}_y"] = _labels(arrays[f"y_{part}"])
            own[f"{part}_lengths"] = _lengths(arrays, f"_{part}")
    groups = arrays.get(f"groups{suffix}", arrays.get("groups"))
    if "names" in arrays:
        own["names"] = tuple(str(name) for name in arrays["names"].reshape(-1))
    named = layout if layout in _SEQUENCES else None
    return Arrays(
        x, y, groups=None if groups is None else _labels(groups), layout=named, targets=targets, **own
    )


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
            f"required for samples of shape {x.shape[1:]}: channels_first if these are {first} channels of {rows} x {columns}, "
            f"channels_last if they are {first} x {rows} with {columns} channels",
        )
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if layout == "channels_last" else x


def _lengths(arrays: dict[str, NDArray[Any]], suffix: str) -> NDArray[Any] | None:
    lengths, mask = arrays.get(f"lengths{suffix}"), arrays.get(f"mask{suffix}")
    if lengths is not None and mask is not None:
        raise InvalidInput("arrays", [f"lengths{suffix}", f"mask{suffix}"], "one of the two")
    return lengths if mask is None else lengths_of_mask(mask, f"mask{suffix}")


def _labels(y: NDArray[Any]) -> NDArray[Any]:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind != "f" else y
