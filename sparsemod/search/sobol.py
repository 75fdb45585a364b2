"""Scrambled Sobol points by place: point i of a seed is always the same, whoever asks and whatever was asked before.

They come from Ax's generator's engine (torch's SobolEngine), without Ax's search space around it: our own decodes conditions and constraints.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sparsemod.records import Value
from sparsemod.space.space import Space

Floats = npt.NDArray[np.float64]

LOOKED = 100
"""Points that are looked at for each candidate that is wanted."""

_BLOCK = 64
_MOST_DIMENSIONS = 21201  # of torch's direction numbers


def points(dimensions: int, seed: int, first: int, count: int) -> Floats:
    """Points `first` to `first + count - 1` of the sequence, shape (count, dimensions), in [0, 1)."""
    if dimensions == 0:
        return np.empty((count, 0))
    from torch import float64
    from torch.quasirandom import SobolEngine

    engine = SobolEngine(min(dimensions, _MOST_DIMENSIONS), scramble=True, seed=seed).fast_forward(first)
    drawn: Floats = engine.draw(count, dtype=float64).numpy()
    return np.clip(drawn, 0.0, np.nextafter(1.0, 0.0))


def candidates(space: Space, seed: int, most: int) -> Iterator[dict[str, Value]]:
    """The first `most` candidates of the seed's sequence that meet the space's constraints, in order; equal ones may come again.

    At most LOOKED points a candidate are looked at, so that the walk ends in a space that its constraints leave nearly empty.
    """
    dimensions, found, first = len(space.free), 0, 0
    while found < most and first < LOOKED * most:
        for unit in points(dimensions, seed, first, _BLOCK):
            values = space.decode(unit)
            if space.meets_constraints(values):
                yield values
                found += 1
                if found == most:
                    return
        first += _BLOCK
