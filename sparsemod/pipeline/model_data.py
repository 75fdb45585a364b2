"""A user's samples for a model from a file: the .npz archive as the model reads it, without normalization."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sparsemod.data.sources.npz import npz
from sparsemod.errors import InvalidInput, NotFound
from sparsemod.importing import Imported
from sparsemod.layouts import Shape
from sparsemod.pipeline.model_report import Samples


def dataset_of(path: Path, shape: Shape) -> dict[str, Any]:
    """Return the spec's `dataset` for an archive whose samples a model of input `shape` reads.

    Images may be channels first or last. Raises NotFound, InvalidInput for samples of another shape.
    """
    if not path.is_file():
        raise NotFound("data file", str(path))
    options: dict[str, Any] = {"path": str(path.resolve()), "normalization": "none"}
    given = _sample_shape(path)
    grey = len(given) == 2 and shape == (1, *given)
    if len(shape) == 2 and given == shape:
        options["layout"] = "channels-length"
    elif given == shape and len(shape) == 3:
        options["layout"] = "channels_first"
    elif len(given) == 3 and (given[2], given[0], given[1]) == shape:
        options["layout"] = "channels_last"
    elif given != shape and not grey:
        raise InvalidInput(
            "--data", f"samples of shape {given}", f"samples of the model's shape {shape}", str(path)
        )
    return {"name": "npz", "options": options}


def samples_of(path: Path, model: Imported) -> Samples:
    """Return the samples of an archive for a model: those of its test or validation set, if it has one, else all.

    Raises the errors of the dataset `npz`.
    """
    options = dataset_of(path, model.shape)["options"]
    arrays = npz(None, path=options["path"], layout=options.get("layout"))
    for name, x, y in (("test", arrays.test_x, arrays.test_y), ("validation", arrays.val_x, arrays.val_y)):
        if x is not None:
            return Samples(np.asarray(x, np.float32), y, f"the {name} set of {path.name}")
    return Samples(np.asarray(arrays.x, np.float32), arrays.y, path.name)


def _sample_shape(path: Path) -> Shape:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [name for name in ("x", "x_train") if name in archive.files]
            if not names:
                raise InvalidInput(
                    "--data", sorted(archive.files), "x and y, or x_train and y_train", str(path)
                )
            return tuple(int(size) for size in archive[names[0]].shape[1:])
    except (ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("--data", str(error), "a .npz archive of plain arrays", str(path)) from error


def stated_shape(text: str, data: Path | None) -> Shape | None:
    """Return the shape of one sample: as stated in `text` ("1,28,28"), else that of the data; None without both.

    Raises InvalidInput for text that is no shape.
    """
    if text:
        try:
            shape = tuple(int(size) for size in text.replace("x", ",").split(","))
        except ValueError:
            shape = ()
        if not 1 <= len(shape) <= 3 or min(shape) < 1:
            raise InvalidInput("--shape", text, "1 to 3 positive numbers, channels first: 1,28,28")
        return shape
    if data is None or not data.is_file():
        return None
    given = _sample_shape(data)
    if len(given) == 2:
        return (1, *given)
    last = len(given) == 3 and given[2] <= 4 < given[0]
    return (given[2], given[0], given[1]) if last else given
