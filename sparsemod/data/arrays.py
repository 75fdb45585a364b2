"""The arrays that a dataset's source returns, validated at construction."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.targets import TITLES, checked, count_of, kind_of, with_numbers
from sparsemod.errors import InvalidInput
from sparsemod.layouts import RANKS, described, layout
from sparsemod.spec.methods import Targets

Samples = NDArray[Any]
Labels = NDArray[Any]

_FEW_CHANNELS = 4  # red, green, blue, and one more channel
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Arrays:
    """A dataset in memory.

    `x`: samples (N, *shape), as integers or floats within float32's range. Vectors are (N, F), images
    (N, C, H, W), sequences (N, C, L) or, with `layout` "time-features", (N, T, F); see `sparsemod.layouts`.
    `y`: their targets. Classes are (N,) integers from 0 or text; labels (N, K) integers 0 or 1; values (N,) or
    (N, K) floats; a class for each position (N, H, W) integers. `targets` names the kind where the form could be
    another one: `normal` for (N,) integers 0 (normal) and 1 (anomalous).
    `test_x`, `test_y`: the official test set, if any. It becomes the test split; training and validation
    never see it.
    `val_x`, `val_y`: the dataset's own validation split, if any.
    `classes`: their number; None infers it from `y`. `names`: the names of the classes, labels or values.
    `groups`: (N,) integers or text, the group of each sample, such as its subject. Splits never divide a
    group.
    `lengths`, `test_lengths`, `val_lengths`: (N,) integers, the number of valid steps of each sequence, the first ones;
    what follows is padding. None: every step is valid. All splits have lengths, or none has.
    `packed`: module classes of the user get the sequences as torch's PackedSequence, not padded; needs lengths and the
    layout "time-features".

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
    targets: Targets | None = None
    packed: bool = False

    def __post_init__(self) -> None:
        _check_samples("x", self.x)
        object.__setattr__(self, "layout", layout(self.layout, self.shape).name)
        if self.groups is not None:
            _check_groups(self.groups, len(self.x))
        self._check_lengths()
        kind = self.targets or kind_of(self.y)
        given = {"y": self.y, "test_y": self.test_y, "val_y": self.val_y}
        numbers, names = with_numbers(kind, given, self.names)
        y = checked(kind, "y", numbers["y"], len(self.x))
        classes = count_of(kind, y, self.classes)
        for name, value in (("targets", kind), ("y", y), ("names", names)):
            object.__setattr__(self, name, value)
        for field in ("test_y", "val_y"):
            object.__setattr__(self, field, numbers[field])
        self._check_own("test", self.test_x, self.test_y, classes)
        self._check_own("val", self.val_x, self.val_y, classes)
        if self.names is not None and len(self.names) != classes:
            raise InvalidInput(
                "names",
                self.names,
                f"one name for each of the {classes} {'values' if kind == 'values' else 'classes'}",
            )
        object.__setattr__(self, "classes", classes)

    def _check_lengths(self) -> None:
        """Check that all splits have lengths, or none, and that they are lengths of sequences."""
        if self.packed and (self.lengths is None or self.layout != "time-features"):
            raise InvalidInput(
                "packed", self.layout, 'only for sequences with lengths in the layout "time-features"'
            )
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
        own = checked(self.kind, f"{part}_y", y, len(x))
        if own.shape[1:] != self.y.shape[1:]:
            raise InvalidInput(
                f"{part}_y", own.shape, f"targets must have the shape of y: {self.y.shape[1:]}"
            )
        if self.kind in ("classes", "pixels") and int(own.max()) >= classes:
            raise InvalidInput(f"{part}_y", int(own.max()), f"labels must be 0..{classes - 1}, as in y")
        object.__setattr__(self, f"{part}_y", own)

    @property
    def class_count(self) -> int:
        """The number of classes, labels or values, declared or inferred."""
        return 0 if self.classes is None else self.classes

    @property
    def kind(self) -> Targets:
        """The kind of targets, declared or inferred."""
        return self.targets or "classes"

    def meant_for(self, targets: Targets, dataset: str) -> "Arrays":
        """Return the dataset with its targets read as `targets`. Raises InvalidInput, which names the `dataset`, where they cannot be."""
        if targets == self.kind:
            return self
        try:
            return replace(self, targets=targets, classes=None, names=None)
        except InvalidInput as error:
            value = f"of shape {error.value}" if isinstance(error.value, tuple) else f"= {error.value!r}"
            found = f"it has {TITLES[self.kind]}; {error.field} {value}"
            allowed = f"the task needs {TITLES[targets]}; {found}"
            raise InvalidInput("dataset.name", dataset, allowed) from None

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
