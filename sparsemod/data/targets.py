"""The targets of a dataset's samples: their form for each kind of task, checked and converted."""

from itertools import filterfalse, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.spec.methods import Targets

NORMAL_NAMES = ("normal", "anomalous")
TITLES: dict[Targets, str] = {
    "classes": "a class for each sample: integers from 0 or text, (N,)",
    "labels": "0 or 1 for each label of each sample, (N, labels)",
    "values": "finite numbers for each sample, (N,) or (N, values)",
    "normal": "0 (normal) or 1 (anomalous) for each sample, (N,)",
    "pixels": "a class for each position, integers from 0, (N, rows, columns)",
}


def kind_of(y: object) -> Targets:
    """Return the kind of targets that an array looks like; `classes` where it could be several."""
    if not isinstance(y, np.ndarray) or y.ndim == 0:
        return "classes"
    if y.ndim == 3 and y.dtype.kind in "ui":
        return "pixels"
    if y.dtype.kind == "f":
        return "values"
    return "labels" if y.ndim == 2 and y.dtype.kind in "uib" else "classes"


def with_numbers(
    kind: Targets, parts: dict[str, NDArray[Any] | None], names: tuple[str, ...] | None
) -> tuple[dict[str, NDArray[Any] | None], tuple[str, ...] | None]:
    """Return targets by field with text replaced by the classes' numbers, and the classes' names.

    The classes are those of all parts, in alphabetical order, or in the order of `names`. Raises InvalidInput.
    """
    texts = {field: y for field, y in parts.items() if isinstance(y, np.ndarray) and y.dtype.kind in "US"}
    if kind != "classes" or not texts:
        return parts, names
    known = names or tuple(sorted({str(one) for y in texts.values() for one in np.unique(y)}))
    place = {name: index for index, name in enumerate(known)}
    found = dict(parts)
    for field, y in texts.items():
        unknown = sorted({str(one) for one in np.unique(y)} - set(known))
        if unknown:
            raise InvalidInput(field, unknown[0], f"one of the names: {', '.join(known)}")
        numbers = [place[str(one)] for one in y.reshape(-1)]
        found[field] = np.array(numbers, np.int64).reshape(y.shape)
    return found, known


def checked(kind: Targets, field: str, y: object, count: int) -> NDArray[Any]:
    """Return the targets of `count` samples: float32 (N, K) for labels and values, else int64. Raises InvalidInput."""
    if not isinstance(y, np.ndarray):
        raise InvalidInput(field, type(y).__name__, "must be a numpy array")
    if len(y) != count:
        raise InvalidInput(field, len(y), f"must have one label for each of the {count} samples")
    axes = {"classes": (1,), "normal": (1,), "labels": (2,), "values": (1, 2), "pixels": (3,)}[kind]
    if y.ndim not in axes:
        allowed = "must have one dimension" if kind == "classes" else TITLES[kind]
        raise InvalidInput(field, y.shape, allowed)
    if y.dtype.kind not in {"values": "uif", "labels": "uibf"}.get(kind, "ui"):
        allowed = "labels must be integers" if kind == "classes" else TITLES[kind]
        raise InvalidInput(field, str(y.dtype), allowed)
    if kind == "values":
        numbers = y.reshape(count, -1).astype(np.float32)
        if not np.isfinite(numbers).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
            raise InvalidInput(f"{field}{list(where)}", float(numbers[where]), "every value must be finite")
        return numbers
    if kind in ("labels", "normal"):
        values = np.unique(y)
        if not np.isin(values, (0, 1)).all():
            raise InvalidInput(field, values[:20].tolist(), TITLES[kind])
        return y.astype(np.float32 if kind == "labels" else np.int64)
    if int(y.min()) < 0:
        raise InvalidInput(field, int(y.min()), "labels count from 0")
    return y.astype(np.int64)


def count_of(kind: Targets, y: NDArray[Any], classes: int | None) -> int:
    """Return the number of classes, labels or values. Raises InvalidInput when it does not fit `y`."""
    if kind == "normal":
        return 2
    if kind in ("labels", "values"):
        if classes not in (None, y.shape[1]):
            raise InvalidInput("classes", classes, f"{y.shape[1]}, the columns of y")
        return int(y.shape[1])
    count = classes if classes is not None else int(y.max()) + 1
    if count < 2:
        raise InvalidInput("classes", count, "at least 2 classes are needed to learn anything")
    present = np.unique(y)
    if present[-1] >= count:
        raise InvalidInput("y", int(present[-1]), f"labels must be 0..{count - 1} for {count} classes")
    if kind == "classes" and len(present) < count:
        # Do not list all labels first: one huge label would make the list larger than memory.
        absent = list(islice(filterfalse(set(present.tolist()).__contains__, range(count)), 20))
        raise InvalidInput("y", present.tolist(), f"every label 0..{count - 1} must occur; absent: {absent}")
    return count


def strata(kind: Targets, y: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class by which splits are stratified (N,): all equal where a sample has no class."""
    return y if kind in ("classes", "normal") else np.zeros(len(y), np.int64)


def without_anomalies(
    y: NDArray[Any], parts: dict[str, NDArray[np.int64]], move: bool
) -> dict[str, NDArray[np.int64]]:
    """Return the parts with the normal samples alone in `train`; with `move`, the others go to the other parts in turn."""
    odd = parts["train"][y[parts["train"]] != 0]
    others = [name for name in parts if name != "train"]
    found = {**parts, "train": np.setdiff1d(parts["train"], odd)}
    if move:
        for place, name in enumerate(others):
            found[name] = np.sort(np.concatenate([parts[name], odd[place :: len(others)]]))
    return found
