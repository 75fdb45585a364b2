"""Singular values of layers, and the options that follow from them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sparsemod.pruning.low_rank.allocation import Option
from sparsemod.pruning.low_rank.folding import (
    allowed_splits,
    cost,
    distinct_schemes,
    largest_rank,
    split_matrices,
)
from sparsemod.pruning.low_rank.layers import Source


def forms(source: Source, schemes: Sequence[int], splits: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of scheme and number of groups that a layer allows."""
    distinct = distinct_schemes(source.shape)
    for scheme in [s for s in schemes if s in distinct] or [0]:
        for count in allowed_splits(source.shape, source.axes, splits):
            yield scheme, count


def ranks(source: Source, scheme: int, splits: int) -> range:
    """Return the ranks whose chain is smaller than the layer."""
    top = largest_rank(source.shape, scheme, splits)
    per = cost(source.shape, scheme, splits, 1)
    return range(1, min(top, (source.count - 1) // per) + 1)


def option(source: Source, scheme: int, splits: int, rank: int, loss: float) -> Option:
    """Return the option of a scheme, a number of groups and a rank."""
    recipe = {"scheme": scheme, "splits": splits, "rank": rank}
    return Option(cost(source.shape, scheme, splits, rank), loss, recipe)


def values(source: Source, scheme: int, splits: int) -> Tensor:
    """Return the singular values (splits, largest rank) of each group, falling."""
    return torch.stack([torch.linalg.svdvals(m) for m in split_matrices(source.weight, scheme, splits)])


def operator_errors(source: Source, scheme: int, splits: int) -> list[float]:
    """Return for each rank j = 0, 1, ... the bound of the relative spectral error of the layer's matrix.

    It is sqrt(splits) x the largest sigma_{j+1} of the groups over sigma_1 of the matrix. For one group it is
    sigma_{j+1} / sigma_1, the error itself.
    """
    found = values(source, scheme, splits)
    top = float(values(source, scheme, 1)[0, 0])
    tails = found.amax(0) * splits**0.5 / max(top, 1e-300)
    return [float(t) for t in tails] + [0.0]


def constant_rank(source: Source, schemes: Sequence[int], splits: Sequence[int]) -> list[Option]:
    """Return options whose loss is the share of the largest rank that is removed."""
    found = []
    for scheme, count in forms(source, schemes, splits):
        top = largest_rank(source.shape, scheme, count)
        found += [option(source, scheme, count, j, 1 - j / (top + 1)) for j in ranks(source, scheme, count)]
    return found


def by_error(source: Source, schemes: Sequence[int], splits: Sequence[int]) -> list[Option]:
    """Return options whose loss is the bound of the relative spectral error."""
    found = []
    for scheme, count in forms(source, schemes, splits):
        errors = operator_errors(source, scheme, count)
        found += [option(source, scheme, count, j, errors[j]) for j in ranks(source, scheme, count)]
    return found


def by_energy(source: Source, schemes: Sequence[int], power: int) -> list[Option]:
    """Return options whose loss is the share of the singular values, raised to `power`, that is removed."""
    found = []
    for scheme, count in forms(source, schemes, (1,)):
        energy = values(source, scheme, count)[0] ** power
        kept = (energy.cumsum(0) / energy.sum().clamp_min(1e-300)).tolist()
        found += [
            option(source, scheme, count, j, max(0.0, 1 - kept[j - 1])) for j in ranks(source, scheme, count)
        ]
    return found
