"""The arrays that a dataset's source returns, validated at construction."""

from dataclasses import dataclass
from itertools import filterfalse, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.layouts import RANKS, described, layout

Samples = NDArray[Any]
Labels = NDArray[np.int64]

_FEW_CHANNELS = 4  # red, green, blue, and one more channel
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Arrays:
    """A dataset in memory.

    `x`: samples (N, *shape), as integers or floats within float32's range. Vectors are (N, F), images
    (N, C, H, W), sequences (N, C, L) or, with `layout` "time-features", (N, T, F); see `sparsemod.layouts`.
    `y`: their labels, (N,) integers from 0.
    `test_x`, `test_y`: the official test set, if any. It becomes the test split; training and validation
    never see it.
    `val_x`, `val_y`: the dataset's own validation split, if any.
    `classes`: their number; None infers it from `y`. `names`: the names of the classes.
    `groups`: (N,) integers or text, the group of each sample, such as its subject. Splits never divide a
    group.
    `lengths`, `test_lengths`, `val_lengths`: (N,) integers, the number of valid steps of each sequence, the first ones;
    what follows is padding. None: every step is valid. All splits have lengths, or none has.

    Raises InvalidInput at construction for any other input; the message names the array, the value and what
    is allowed.
    """

    x: Samples
    y: NDArray[Any]
    test_x: Samples | None = None
    test_y: NDArray[Any] | None = None
    classes: int | None = None
    names: tuple[str, ...] | None = None
    val_x: Samples | None = None
    val_y: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    layout: str | None = None
    lengths: NDArray[Any] | None = None
    test_lengths: NDArray[Any] | None = None
    val_lengths: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        _check_samples("x", self.x)
        object.__setattr__(self, "layout", layout(self.layout, self.shape).name)
        _check_labels("y", self.y, len(self.x))
        if self.groups is not None:
            _check_groups(self.groups, len(self.x))
        self._check_lengths()
        classes = self.classes if self.classes is not None else int(self.y.max()) + 1
        if classes < 2:
            raise InvalidInput("classes", classes, "at least 2 classes are needed to learn anything")
        present = np.unique(self.y)
        if present[-1] >= classes:
            raise InvalidInput(
                "y", int(present[-1]), f"labels must be 0..{classes - 1} for {classes} classes"
            )
        if len(present) < classes:
            # Do not list all labels first: one huge label would make the list larger than memory.
            absent = list(islice(filterfalse(set(present.tolist()).__contains__, range(classes)), 20))
            raise InvalidInput(
                "y", present.tolist(), f"every label 0..{classes - 1} must occur; absent: {absent}"
            )
        self._check_own("test", self.test_x, self.test_y, classes)
        self._check_own("val", self.val_x, self.val_y, classes)
        if self.names is not None and len(self.names) != classes:
            raise InvalidInput("names", self.names, f"one name for each of the {classes} classes")
        object.__setattr__(self, "classes", classes)

    def _check_lengths(self) -> None:
        """Check that all splits have lengths, or none, and that they are lengths of sequences."""
        parts = (
            ("lengths", self.lengths, self.x),
            ("test_lengths", self.test_lengths, self.test_x),
            ("val_lengths", self.val_lengths, self.val_x),
        )
        for field, lengths, x in parts:
            if x is None:
                if lengths is not None:
                    raise InvalidInput(field, len(lengths), "nothing, as that split is not there")
                continue
            if (lengths is None) != (self.lengths is None):
                raise InvalidInput(field, lengths, "lengths for every split, or for none")
            if lengths is not None:
                _check_lengths(field, lengths, x, self.steps)

    @property
    def steps(self) -> int:
        """The number of steps of a sequence, padding included. Raises InvalidInput for samples that are no sequences."""
        axes = layout(self.layout, self.shape)
        if len(axes.positions) != 1:
            raise InvalidInput(
                "lengths", self.shape, "only for sequences: samples (channels, length) or (time, features)"
            )
        return self.shape[axes.positions[0]]

    def _check_own(self, part: str, x: Samples | None, y: NDArray[Any] | None, classes: int) -> None:
        """Check a provided split: both arrays or neither, with the shape and the classes of x and y."""
        if x is None or y is None:
            if (x is None) != (y is None):
                missing = f"{part}_x" if x is None else f"{part}_y"
                kind = "an official test set" if part == "test" else "a validation set"
                raise InvalidInput(missing, None, f"{kind} needs both {part}_x and {part}_y")
            return
        _check_samples(f"{part}_x", x)
        if x.shape[1:] != self.x.shape[1:]:
            raise InvalidInput(
                f"{part}_x", x.shape[1:], f"samples must have the shape of x: {self.x.shape[1:]}"
            )
        _check_labels(f"{part}_y", y, len(x))
        if int(y.max()) >= classes:
            raise InvalidInput(f"{part}_y", int(y.max()), f"labels must be 0..{classes - 1}, as in y")

    @property
    def class_count(self) -> int:
        """The number of classes, declared or inferred."""
        return self.classes if self.classes is not None else int(self.y.max()) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.x.shape[1:])


def looks_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a shape looks like (H, W, C) and not (C, H, W): few entries in the last axis, more in the first."""
    return len(shape) == 3 and shape[2] <= _FEW_CHANNELS < shape[0]


def _check_samples(field: str, x: object) -> None:
    if not isinstance(x, np.ndarray):
        raise InvalidInput(field, type(x).__name__, "must be a numpy array")
    if x.ndim - 1 not in RANKS:
        raise InvalidInput(field, x.shape, f"must have shape (N, ...), each sample one of {described()}")
    if 0 in x.shape:
        raise InvalidInput(field, x.shape, "no dimension may be empty")
    if x.dtype.kind not in "buif":
        raise InvalidInput(field, str(x.dtype), "must hold integers or floats")
    if x.dtype.kind == "f":
        finite = np.isfinite(x)
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise InvalidInput(f"{field}{list(where)}", float(x[where]), "every value must be finite")
        if x.dtype.itemsize > 4 and max(-x.min(), x.max()) > _LARGEST:
            where = tuple(int(i) for i in np.argwhere(np.abs(x) > _LARGEST)[0])
            raise InvalidInput(f"{field}{list(where)}", float(x[where]), "every value must fit a float32")


def _check_labels(field: str, y: object, count: int) -> None:
    if not isinstance(y, np.ndarray):
        raise InvalidInput(field, type(y).__name__, "must be a numpy array")
    if y.ndim != 1:
        raise InvalidInput(field, y.shape, "must have one dimension")
    if y.dtype.kind not in "ui":
        raise InvalidInput(field, str(y.dtype), "labels must be integers")
    if len(y) != count:
        raise InvalidInput(field, len(y), f"must have one label for each of the {count} samples")
    if int(y.min()) < 0:
        raise InvalidInput(field, int(y.min()), "labels count from 0")


def _check_lengths(field: str, lengths: object, x: Samples, steps: int) -> None:
    if not isinstance(lengths, np.ndarray):
        raise InvalidInput(field, type(lengths).__name__, "must be a numpy array")
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "ui":
        raise InvalidInput(
            field, (str(lengths.dtype), lengths.shape), f"one integer for each of the {len(x)} samples"
        )
    if not 1 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise InvalidInput(
            field, [int(lengths.min()), int(lengths.max())], f"1 to {steps}, the steps of a sample"
        )


def _check_groups(groups: object, count: int) -> None:
    if not isinstance(groups, np.ndarray):
        raise InvalidInput("groups", type(groups).__name__, "must be a numpy array")
    if groups.shape != (count,):
        raise InvalidInput("groups", groups.shape, f"must have one group for each of the {count} samples")
    if groups.dtype.kind not in "uiUS":
        raise InvalidInput("groups", str(groups.dtype), "groups must be integers or text")
