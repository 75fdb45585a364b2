"""Arrays of torch datasets, with the user's own splits and collate function."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.padding import padded
from sparsemod.errors import InvalidInput
from sparsemod.layouts import layout as known_layout

if TYPE_CHECKING:
    from torch.utils.data import Dataset

Collate = Callable[[list[Any]], Any]
_PARTS = ("", "val_", "test_")


def from_datasets(
    datasets: "Sequence[Dataset[Any]]",
    *,
    collate_fn: Collate | None = None,
    layout: str | None = None,
    names: tuple[str, ...] | None = None,
) -> Arrays:
    """Return the arrays of one to three torch datasets: training, validation and test data; the given splits are kept.

    Items are (sample, label). Sequences of different lengths are padded; `layout` names their axes, see
    `sparsemod.layouts`. With `collate_fn`, as of a DataLoader, the whole dataset is collated once: it gets the list of
    all items and returns (samples (N, ...), labels (N,)) or (samples, labels, lengths (N,)). `names`: of the classes.
    Raises InvalidInput.
    """
    if not 1 <= len(datasets) <= len(_PARTS):
        raise InvalidInput("datasets", len(datasets), "one to three: training, validation, test")
    own: dict[str, Any] = {}
    for part, one in zip(_PARTS, datasets, strict=False):
        x, y, lengths = _collated(_items(one, part), collate_fn, layout, f"datasets {part or 'training'}")
        own |= {f"{part}x": x, f"{part}y": y, f"{part}lengths": lengths}
    return Arrays(**_equally_long(own, layout), names=names, layout=layout)


def returned_datasets(found: Any) -> Arrays:
    """Return the arrays of what a SpArSeMod project's loading function returns.

    That is a list [training, validation, test] of torch datasets, or a pair of such a list and the number of classes.
    The user's own validation and test sets are kept. Raises InvalidInput.
    """
    classes: int | None = None
    if isinstance(found, tuple) and len(found) == 2 and type(found[1]) is int:
        found, classes = found
    if not isinstance(found, list | tuple) or len(found) != len(_PARTS):
        got = f"{len(found)} datasets" if isinstance(found, list | tuple) else type(found).__name__
        allowed = "a list of three torch datasets: training, validation, test; or such a list and the number of classes"
        raise InvalidInput("datasets", got, allowed)
    arrays = from_datasets(found)
    return arrays if classes is None else replace(arrays, classes=classes)


def _items(dataset: "Dataset[Any]", part: str) -> list[Any]:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise InvalidInput(f"datasets {part}", type(dataset).__name__, "a torch Dataset with a length")
    return [dataset[i] for i in range(len(dataset))]


def _collated(
    items: list[Any], collate_fn: Collate | None, layout: str | None, field: str
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64] | None]:
    if collate_fn is not None:
        made = collate_fn(items)
        if not isinstance(made, tuple | list) or len(made) not in (2, 3):
            raise InvalidInput(
                "collate_fn", type(made).__name__, "(samples, labels) or (samples, labels, lengths)"
            )
        x, y, *rest = (_array(one) for one in made)
        return x, y.reshape(-1).astype(np.int64), rest[0].astype(np.int64) if rest else None
    if not items or any(not isinstance(item, tuple | list) or len(item) != 2 for item in items):
        raise InvalidInput(
            field, len(items), "items (sample, label), or a collate_fn that makes arrays of them"
        )
    samples = [_array(item[0]) for item in items]
    labels = np.array([int(_array(item[1]).reshape(-1)[0]) for item in items], np.int64)
    if len({one.shape for one in samples}) == 1:
        return np.stack(samples), labels, None
    positions = known_layout(layout, samples[0].shape).positions
    if len(positions) != 1:
        raise InvalidInput(
            field, sorted({one.shape for one in samples})[:5], "samples of one shape, or sequences"
        )
    x, lengths = padded(samples, positions[0], field)
    return x, labels, lengths


def _array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _equally_long(own: dict[str, Any], layout: str | None) -> dict[str, Any]:
    """Pad all splits to the longest one; give all splits lengths if one has them."""
    if all(own[f"{part}lengths"] is None for part in _present(own)):
        return {key: value for key, value in own.items() if not key.endswith("lengths")}
    axis = 1 + known_layout(layout, own["x"].shape[1:]).positions[0]
    longest = max(own[f"{part}x"].shape[axis] for part in _present(own))
    for part in _present(own):
        x = own[f"{part}x"]
        if own[f"{part}lengths"] is None:
            own[f"{part}lengths"] = np.full(len(x), x.shape[axis])
        widths = [(0, longest - x.shape[axis] if at == axis else 0) for at in range(x.ndim)]
        own[f"{part}x"] = np.pad(x, widths)
    return own


def _present(own: dict[str, Any]) -> Iterable[str]:
    return [part for part in _PARTS if f"{part}x" in own]
