"""What a dataset's source returns: plain arrays, checked once."""

from dataclasses import dataclass
from itertools import filterfalse, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.layouts import RANKS, described, layout

Samples = NDArray[Any]
Labels = NDArray[np.int64]

_FEW_CHANNELS = 4  # red, green, blue, and one more
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Arrays:
    """A dataset in memory.

    `x` holds the samples (N, *shape) as integers or floats that float32 can hold: vectors (N, F), sequences (N, C, L) or, with `layout`
    "time-features", (N, T, F), images (N, C, H, W); see `sparsemod.layouts`. `y` are their labels,
    (N,) integers from 0. `test_x` and `test_y` are the official test set where the dataset has one: it is then the test split, and nothing
    of it reaches training or validation. `val_x` and `val_y` are likewise the dataset's own validation split. `classes` is inferred from `y` when
    None; `names` are the classes' names. `groups` (N,), integers or text, says which samples belong together, such as those of one subject: a
    group is never divided between splits.

    Raises InvalidInput at construction for anything else, naming the array, the value found and what is allowed.
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

    def __post_init__(self) -> None:
        _check_samples("x", self.x)
        object.__setattr__(self, "layout", layout(self.layout, self.shape).name)
        _check_labels("y", self.y, len(self.x))
        if self.groups is not None:
            _check_groups(self.groups, len(self.x))
        classes = self.classes if self.classes is not None else int(self.y.max()) + 1
        if classes < 2:
            raise InvalidInput("classes", classes, "at least 2 classes are needed to learn anything")
        present = np.unique(self.y)
        if present[-1] >= classes:
            raise InvalidInput(
                "y", int(present[-1]), f"labels must be 0..{classes - 1} for {classes} classes"
            )
        if len(present) < classes:
            # Not a list of all labels first: one wild label would make it longer than memory.
            absent = list(islice(filterfalse(set(present.tolist()).__contains__, range(classes)), 20))
            raise InvalidInput(
                "y", present.tolist(), f"every label 0..{classes - 1} must occur; absent: {absent}"
            )
        self._check_own("test", self.test_x, self.test_y, classes)
        self._check_own("val", self.val_x, self.val_y, classes)
        if self.names is not None and len(self.names) != classes:
            raise InvalidInput("names", self.names, f"one name for each of the {classes} classes")
        object.__setattr__(self, "classes", classes)

    def _check_own(self, part: str, x: Samples | None, y: NDArray[Any] | None, classes: int) -> None:
        """A split that the dataset brings: both arrays or neither, of the shape and the classes of x and y."""
        if x is None or y is None:
            if (x is None) != (y is None):
                missing = f"{part}_x" if x is None else f"{part}_y"
                kind = "an official test set" if part == "test" else "an own validation set"
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
        """The number of classes, given or inferred."""
        return self.classes if self.classes is not None else int(self.y.max()) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """One sample's shape."""
        return tuple(self.x.shape[1:])


def looks_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a sample's shape (three axes) may be (H, W, C) where (C, H, W) is expected: few entries in the last axis, more in the first."""
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


def _check_groups(groups: object, count: int) -> None:
    if not isinstance(groups, np.ndarray):
        raise InvalidInput("groups", type(groups).__name__, "must be a numpy array")
    if groups.shape != (count,):
        raise InvalidInput("groups", groups.shape, f"must have one group for each of the {count} samples")
    if groups.dtype.kind not in "uiUS":
        raise InvalidInput("groups", str(groups.dtype), "groups must be integers or text")
