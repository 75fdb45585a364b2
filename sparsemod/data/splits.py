"""Seeded splits into disjoint parts: stratified by class, or by whole groups of samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput

Indices = NDArray[np.int64]

_ORDERS = 20  # number of group orders to try
_LACKING = 1e6  # penalty for each class without a sample in a part


def stratified(
    labels: NDArray[np.int64], sizes: Mapping[str, float], seed: int, *, rest: str = "train"
) -> dict[str, Indices]:
    """Split samples by class; return the sorted indices of every named part and of `rest`.

    The parts are disjoint and complete.

    `sizes` are shares of all samples (float in (0, 1)) or counts (int). Each class is split in the same
    proportion, by largest remainders, with at least one sample in every part. Equal arguments give equal
    parts.
    Raises InvalidInput for impossible sizes, and for a class with fewer samples than parts.
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
    assigned = np.zeros_like(free)
    result: dict[str, Indices] = {}
    for place, (name, count) in enumerate(counts.items()):
        # Leave one sample of each class for every remaining part.
        share = _shares(class_sizes, count, free - (parts - 1 - place))
        result[name] = np.sort(
            np.concatenate([m[t : t + s] for m, t, s in zip(members, assigned, share, strict=True)])
        )
        assigned, free = assigned + share, free - share
    result[rest] = np.sort(np.concatenate([m[t:] for m, t in zip(members, assigned, strict=True)]))
    return result


def grouped(
    labels: NDArray[np.int64],
    groups: NDArray[Any],
    sizes: Mapping[str, float],
    seed: int,
    *,
    rest: str = "train",
) -> dict[str, Indices]:
    """Like `stratified`, but keep groups whole: `groups` (N,) is the group of each sample, such as its subject.

    Approximates the sizes and the class proportions: it assigns the largest groups first, each to the part
    where it reduces the distance most, and keeps the best of several seeded orders. Each part gets at least
    one sample of every class.
    Raises InvalidInput for impossible sizes, and when no tried division gives every part every class.
    """
    if not sizes:
        return {rest: np.arange(len(labels))}
    counts = {name: _count(name, size, len(labels)) for name, size in sizes.items()}
    names = [*counts, rest]
    classes, label_of = np.unique(labels, return_inverse=True)
    known, group_of = np.unique(groups, return_inverse=True)
    if len(known) < len(names):
        allowed = f"at least one group for each of {', '.join(names)}"
        raise InvalidInput("splits", f"{len(known)} groups", allowed)
    table = np.zeros((len(known), len(classes)))
    np.add.at(table, (group_of, label_of), 1)
    scarce = int((table > 0).sum(axis=0).argmin())
    holding = int((table[:, scarce] > 0).sum())
    if holding < len(names):
        allowed = f"class {int(classes[scarce])} occurs in {holding} groups; {', '.join(names)} need one each"
        raise InvalidInput("splits", holding, allowed)
    shares = np.array([*counts.values(), len(labels) - sum(counts.values())]) / len(labels)
    generator = np.random.default_rng(seed)
    best: tuple[float, Indices] | None = None
    for _ in range(max(1, min(_ORDERS, 20_000 // len(known)))):
        order = generator.permutation(len(known))
        order = order[np.argsort(-table[order].sum(axis=1), kind="stable")]
        assignment = _assign(table, order, shares)
        best = assignment if best is None or assignment[0] < best[0] else best
    if best is None or best[0] >= _LACKING:
        raise InvalidInput(
            "splits", dict(sizes), f"no division of the {len(known)} groups gives every part every class"
        )
    part_of = best[1][group_of]
    return {name: np.flatnonzero(part_of == place) for place, name in enumerate(names)}


def _assign(table: NDArray[np.float64], order: Indices, shares: NDArray[np.float64]) -> tuple[float, Indices]:
    """Assign each group, in this order, to the part where the counts come closest to their shares.

    Returns (distance, part of each group).
    """
    totals = table.sum(axis=0)
    wanted = shares[:, None] * totals
    counts = np.zeros_like(wanted)
    chosen = np.zeros(len(table), np.int64)

    def distance(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        deviation = (((sums - wanted) / np.maximum(wanted, 1)) ** 2).sum(axis=(-2, -1))
        return np.asarray(deviation + _LACKING * (sums == 0).sum(axis=(-2, -1)))

    parts = np.arange(len(shares))
    for group in order:
        tried = np.repeat(counts[None], len(shares), axis=0)
        tried[parts, parts] += table[group]
        place = int(distance(tried).argmin())
        counts, chosen[group] = tried[place], place
    return float(distance(counts)), chosen


def subset(labels: NDArray[np.int64], limit: int, seed: int) -> Indices:
    """Return sorted indices of `limit` samples, stratified by class.

    Raises InvalidInput when a class would be empty.
    """
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
    """Divide `count` over the classes in proportion, at least 1 and at most `most` of each."""
    exact = class_sizes * (count / class_sizes.sum())
    share: NDArray[np.int64] = np.clip(np.floor(exact).astype(np.int64), 1, most)
    while (missing := count - int(share.sum())) != 0:
        # Move one sample at a time: to the class furthest below its exact share, or from the class furthest
        # above.
        movable = share < most if missing > 0 else share > 1
        if not movable.any():
            raise InvalidInput(
                "splits", count, "the classes are too uneven for a stratified split of this size"
            )
        gap = np.where(movable, (exact - share) * np.sign(missing), -np.inf)
        share[int(gap.argmax())] += 1 if missing > 0 else -1
    return share
