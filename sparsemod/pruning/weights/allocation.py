"""The number of weights that each layer loses, with an exact sum."""

from collections.abc import Mapping, Sequence

import numpy as np


def capped_total(counts: Sequence[int], pruned: int) -> int:
    """Return how many of `counts` weights can go when `pruned` should: one weight of each layer stays."""
    return min(pruned, sum(counts) - len(counts))


def apportion(counts: Sequence[int], shares: Sequence[float], pruned: int) -> list[int]:
    """Split `pruned` weights over layers of `counts` weights, in proportion to counts x shares.

    The result sums to `capped_total(counts, pruned)`. A layer that would lose its last weight keeps it; the
    other layers then lose more. Fractions go to the layers of largest remainder, ties to the first.
    """
    total, room = capped_total(counts, pruned), np.array(counts, float) - 1
    parts = np.array(counts, float) * np.array(shares, float)
    found = np.zeros(len(room))
    full = np.zeros(len(room), bool)
    while not full.all():
        left = total - found[full].sum()
        weights = parts[~full].sum()
        found[~full] = parts[~full] * (left / weights) if weights > 0 else left / (~full).sum()
        over = ~full & (found > room)
        if not over.any():
            break
        found[over] = room[over]
        full |= over
    whole = np.floor(found + 1e-9)
    order = np.argsort(whole - found, kind="stable")
    missing = total - int(whole.sum())
    for place in [p for p in order if whole[p] < room[p]][:missing]:
        whole[place] += 1
    return [int(count) for count in whole]


def erdos_renyi(shapes: Mapping[str, Sequence[int]], sparsity: float) -> dict[str, float]:
    """Return the share of each layer's weights to remove, by the kernel form of Erdős and Rényi.

    The share that stays is proportional to the sum of a weight's dimensions over their product, at most 1.
    Small layers keep more. Source: Evci et al., "Rigging the lottery", 2020.
    """
    names = list(shapes)
    counts = np.array([np.prod(shapes[n]) for n in names], float)
    raw = np.array([sum(shapes[n]) for n in names], float) / counts
    wanted = (1 - sparsity) * counts.sum()
    dense = np.zeros(len(names), bool)
    while True:
        left = wanted - counts[dense].sum()
        scale = left / (raw * counts)[~dense].sum() if (~dense).any() else 0.0
        over = ~dense & (raw * scale >= 1)
        if not over.any():
            break
        dense |= over
    keep = np.where(dense, 1.0, raw * scale)
    return {name: float(1 - share) for name, share in zip(names, keep, strict=True)}
