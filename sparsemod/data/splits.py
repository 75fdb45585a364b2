"""Disjoint, stratified, seeded division of samples."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput

Indices = NDArray[np.int64]


def stratified(
    labels: NDArray[np.int64], sizes: Mapping[str, float], seed: int, *, rest: str = "train"
) -> dict[str, Indices]:
    """Indices of every named part and of `rest` (all that remain); parts are disjoint, together complete, each sorted.

    `sizes` are shares of all samples (float in (0, 1)) or counts (int). Each class is divided in the same proportion, by largest remainders,
    with at least one sample of it in every part; equal arguments give equal parts.
    Raises InvalidInput for impossible sizes, and for a class that has fewer samples than there are parts.
    """
    total = len(labels)
    counts = {name: _count(name, size, total) for name, size in sizes.items()}
    classes, class_sizes = np.unique(labels, return_counts=True)
    parts = len(counts) + 1
    for name, count in counts.items():
        if count < len(classes):
            raise InvalidInput(
                f"splits.{name}",
                sizes[name],
                f"gives {count} of {total} samples; needs at least one for each of {len(classes)} classes",
            )
    left = total - sum(counts.values())
    if left < len(classes):
        raise InvalidInput(
            "splits",
            dict(sizes),
            f"leaves {left} of {total} samples for {rest}; needs at least one for each of {len(classes)} classes",
        )
    scarce = int(class_sizes.argmin())
    if class_sizes[scarce] < parts:
        allowed = f"class {int(classes[scarce])} has too few samples for {parts} stratified parts ({', '.join([*counts, rest])}): at least {parts}"
        raise InvalidInput("splits", int(class_sizes[scarce]), allowed)
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in classes]
    free = class_sizes.astype(np.int64)
    taken = np.zeros_like(free)
    result: dict[str, Indices] = {}
    for place, (name, count) in enumerate(counts.items()):
        # Every part still to come needs one sample of each class.
        share = _shares(class_sizes, count, free - (parts - 1 - place))
        result[name] = np.sort(
            np.concatenate([m[t : t + s] for m, t, s in zip(members, taken, share, strict=True)])
        )
        taken, free = taken + share, free - share
    result[rest] = np.sort(np.concatenate([m[t:] for m, t in zip(members, taken, strict=True)]))
    return result


def subset(labels: NDArray[np.int64], limit: int, seed: int) -> Indices:
    """Sorted indices of `limit` samples, stratified as `stratified` does. Raises InvalidInput when a class would be empty."""
    if limit >= len(labels):
        return np.arange(len(labels))
    classes, class_sizes = np.unique(labels, return_counts=True)
    if limit < len(classes):
        raise InvalidInput(
            "dataset.limit", limit, f"needs at least one sample for each of {len(classes)} classes"
        )
    generator = np.random.default_rng([seed, 1])
    share = _shares(class_sizes, limit, class_sizes.astype(np.int64))
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, share, strict=True)
    ]
    together: Indices = np.sort(np.concatenate(chosen))
    return together


def _count(name: str, size: float, total: int) -> int:
    if isinstance(size, int):
        if not 0 < size < total:
            raise InvalidInput(
                f"splits.{name}",
                size,
                f"a count must be between 1 and {total - 1}, or a share between 0 and 1",
            )
        return size
    if not 0 < size < 1:
        raise InvalidInput(f"splits.{name}", size, "a share must be above 0 and below 1, or give a count")
    return round(size * total)


def _shares(class_sizes: NDArray[np.int64], count: int, most: NDArray[np.int64]) -> NDArray[np.int64]:
    """`count` divided over the classes in proportion, at least 1 and at most `most` of each."""
    exact = class_sizes * (count / class_sizes.sum())
    share: NDArray[np.int64] = np.clip(np.floor(exact).astype(np.int64), 1, most)
    while (missing := count - int(share.sum())) != 0:
        # One at a time: to the class furthest below its exact share, or from the one furthest above.
        movable = share < most if missing > 0 else share > 1
        if not movable.any():
            raise InvalidInput(
                "splits", count, "the classes are too uneven for a stratified split of this size"
            )
        gap = np.where(movable, (exact - share) * np.sign(missing), -np.inf)
        share[int(gap.argmax())] += 1 if missing > 0 else -1
    return share
