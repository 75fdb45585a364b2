"""Data sets of torch as arrays: `[train, validation, test]` lists of TensorDataset or Dataset objects.

A SpArSeMod project loads its data by a function that returns such a list and the number of classes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.padding import padded
from sparsemod.errors import InvalidInput
from sparsemod.layouts import layout as known_layout

Collate = Callable[[list[Any]], Any]
_FORM = "[train, validation, test], [train, test] or [train], data sets of torch that give pairs of a sample and its label; or such a list and the number of classes"
_PARTS = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}
_KEYS = {"train": "", "validation": "val_", "test": "test_"}


def from_datasets(
    datasets: Any,
    *,
    collate_fn: Collate | None = None,
    layout: str | None = None,
    names: tuple[str, ...] | None = None,
) -> Arrays:
    """Return the arrays of a list of one to three data sets of torch, or of a pair of such a list and the number of classes.

    The user's own validation and test sets are kept; two sets are training and test set. Items are (sample, label).
    Sequences of different lengths are padded; `layout` names their axes, see `sparsemod.layouts`. With `collate_fn`, as
    of a DataLoader, each set is collated once: it gets the list of all items and returns (samples (N, ...), labels (N,))
    or (samples, labels, lengths (N,)). Its samples may be a PackedSequence of torch; a module class of the user then gets
    packed sequences, too. `names`: of the classes. Raises InvalidInput, which names the set.
    """
    classes: int | None = None
    if isinstance(datasets, tuple) and len(datasets) == 2 and type(datasets[1]) is int:
        datasets, classes = datasets
    if not isinstance(datasets, Sequence) or isinstance(datasets, str) or len(datasets) not in _PARTS:
        raise InvalidInput("dataset", type(datasets).__name__, f"sparsemod.data.Arrays, or {_FORM}")
    packed: list[bool] = []
    if collate_fn is not None:
        collate_fn = _padding(collate_fn, packed)
    parts = {
        name: _read(f"{name} set", one, collate_fn, layout)
        for name, one in zip(_PARTS[len(datasets)], datasets, strict=True)
    }
    if any(packed):
        layout = layout or "time-features"
    if any(lengths is not None for _, _, lengths in parts.values()):
        parts = _equally_long(parts, layout)
    own: dict[str, Any] = {}
    for name, (x, y, lengths) in parts.items():
        key = _KEYS[name]
        own |= {f"{key}x": x, f"{key}y": y, f"{key}lengths": lengths}
    return Arrays(**own, classes=classes, names=names, layout=layout, packed=any(packed))


_Part = tuple[NDArray[Any], NDArray[Any], NDArray[np.int64] | None]


def _read(name: str, part: Any, collate_fn: Collate | None, layout: str | None) -> _Part:
    """Return all samples (N, *shape), labels (N,) and lengths (N,) of a data set. Raises InvalidInput."""
    tensors = getattr(part, "tensors", None)
    if collate_fn is None and isinstance(tensors, Sequence) and len(tensors) == 2:
        return _array(tensors[0]), _labels(tensors[1]), None
    if not hasattr(part, "__len__") or not hasattr(part, "__getitem__") or isinstance(part, str):
        raise InvalidInput(name, type(part).__name__, f"a data set with a length; {_FORM}")
    items = [part[place] for place in range(len(part))]
    if not items:
        raise InvalidInput(name, 0, "at least one sample")
    if collate_fn is not None:
        return _collated(collate_fn, items)
    for place, item in enumerate(items):
        if not isinstance(item, Sequence) or len(item) != 2:
            raise InvalidInput(f"{name}[{place}]", type(item).__name__, "a pair of a sample and its label")
    samples = [_array(sample) for sample, _ in items]
    labels = _labels([_array(label).reshape(()) for _, label in items])
    shapes = sorted({sample.shape for sample in samples})
    if len(shapes) == 1:
        return np.stack(samples), labels, None
    if len(shapes[0]) != 2:
        raise InvalidInput(name, shapes[:3], "samples of one shape, or sequences with two axes")
    x, lengths = padded(samples, known_layout(layout, shapes[0]).positions[0], name)
    return x, labels, lengths


def _collated(collate_fn: Collate, items: list[Any]) -> _Part:
    made = collate_fn(items)
    if not isinstance(made, tuple | list) or len(made) not in (2, 3):
        raise InvalidInput(
            "collate_fn", type(made).__name__, "(samples, labels) or (samples, labels, lengths)"
        )
    lengths = _array(made[2]).astype(np.int64) if len(made) == 3 else None
    return _array(made[0]), _labels(made[1]), lengths


def _padding(collate_fn: Collate, packed: list[bool]) -> Collate:
    """Return `collate_fn` with padded samples and their lengths in place of a PackedSequence; `packed` notes which calls had one."""

    def collate(items: list[Any]) -> Any:
        made = collate_fn(items)
        packs = isinstance(made, tuple | list) and bool(made) and hasattr(made[0], "batch_sizes")
        packed.append(packs)
        if not packs:
            return made
        from torch.nn.utils.rnn import pad_packed_sequence

        x, lengths = pad_packed_sequence(made[0], batch_first=True)
        return x, *made[1:2], lengths

    return collate


def _equally_long(parts: dict[str, _Part], layout: str | None) -> dict[str, _Part]:
    """Pad the samples of all sets to the longest one, and give all sets lengths."""
    axis = 1 + known_layout(layout, parts["train"][0].shape[1:]).positions[0]
    longest = max(x.shape[axis] for x, _, _ in parts.values())
    return {
        name: (
            np.pad(x, [(0, longest - x.shape[axis] if at == axis else 0) for at in range(x.ndim)]),
            y,
            np.full(len(x), x.shape[axis]) if lengths is None else lengths,
        )
        for name, (x, y, lengths) in parts.items()
    }


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
