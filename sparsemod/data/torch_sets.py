"""Data sets of torch as arrays: `[train, validation, test]` lists of TensorDataset or Dataset objects.

A SpArSeMod project loads its data by a function that returns such a list and the number of classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.errors import InvalidInput

_PARTS = ("train", "validation", "test")
_FORM = "[train, validation, test] or [train, test], data sets of torch that give pairs of a sample and its label; or such a list and the number of classes"


def from_torch(found: Any) -> Arrays:
    """Return the arrays of a list of torch's data sets, or of a pair of such a list and the number of classes.

    The user's own validation and test sets are kept. Samples are stacked to (N, *shape). Two sets are training and
    test set. Raises InvalidInput, which names the set.
    """
    classes: int | None = None
    if (
        isinstance(found, tuple)
        and len(found) == 2
        and isinstance(found[1], int)
        and not isinstance(found[1], bool)
    ):
        found, classes = found
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) not in (2, 3):
        raise InvalidInput("dataset", type(found).__name__, f"sparsemod.data.Arrays, or {_FORM}")
    names = _PARTS if len(found) == 3 else ("train", "test")
    parts = {name: _stacked(name, part) for name, part in zip(names, found, strict=True)}
    train_x, train_y = parts["train"]
    validation_x, validation_y = parts.get("validation", (None, None))
    test_x, test_y = parts["test"]
    return Arrays(
        train_x,
        train_y,
        test_x=test_x,
        test_y=test_y,
        classes=classes,
        val_x=validation_x,
        val_y=validation_y,
    )


def _stacked(name: str, part: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return all samples (N, *shape) and labels (N,) of a data set. Raises InvalidInput."""
    tensors = getattr(part, "tensors", None)
    if isinstance(tensors, Sequence) and len(tensors) == 2:
        return _array(tensors[0]), _labels(tensors[1])
    if not hasattr(part, "__len__") or not hasattr(part, "__getitem__") or isinstance(part, str):
        raise InvalidInput(f"{name} set", type(part).__name__, f"a data set with a length; {_FORM}")
    items = [part[place] for place in range(len(part))]
    for place, item in enumerate(items):
        if not isinstance(item, Sequence) or len(item) != 2:
            raise InvalidInput(
                f"{name} set[{place}]", type(item).__name__, "a pair of a sample and its label"
            )
    if not items:
        raise InvalidInput(f"{name} set", 0, "at least one sample")
    samples = [_array(sample) for sample, _ in items]
    shapes = sorted({sample.shape for sample in samples})
    if len(shapes) > 1:
        raise InvalidInput(f"{name} set", shapes[:3], "samples of one shape")
    return np.stack(samples), _labels([_array(label).reshape(()) for _, label in items])


def _array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _labels(value: Any) -> NDArray[Any]:
    """Return labels (N,); a column of labels (N, 1) and whole floats are accepted."""
    labels = _array(value)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "f" and bool((labels == labels.round()).all()):
        return labels.astype(np.int64)
    return labels
