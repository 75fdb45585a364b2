"""Scrambled Sobol points by index: point i of a seed is always the same.

They come from the engine of Ax's generator (torch's SobolEngine) without Ax's search space, because our
space decodes conditions and constraints.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sparsemod.records import Value
from sparsemod.space.space import Space

Floats = npt.NDArray[np.float64]

LOOKED = 100
"""Largest number of points examined for each requested candidate."""

_BLOCK = 64
_MOST_DIMENSIONS = 21201  # limit of torch's direction numbers


def points(dimensions: int, seed: int, first: int, count: int) -> Floats:
    """Return points `first` to `first + count - 1` of the sequence, shape (count, dimensions), in [0, 1)."""
    if dimensions == 0:
        return np.empty((count, 0))
    from torch import float64
    from torch.quasirandom import SobolEngine

    engine = SobolEngine(min(dimensions, _MOST_DIMENSIONS), scramble=True, seed=seed).fast_forward(first)
    unit_points: Floats = engine.draw(count, dtype=float64).numpy()
    return np.clip(unit_points, 0.0, np.nextafter(1.0, 0.0))


def candidates(space: Space, seed: int, most: int) -> Iterator[dict[str, Value]]:
    """Yield the first `most` candidates of the seed's sequence that meet the space's constraints, in order.

    Equal candidates may repeat. At most LOOKED points per candidate are examined, so that the iteration
    ends in a space that is almost empty under its constraints.
    """
    dimensions, yielded, first = len(space.free), 0, 0
    while yielded < most and first < LOOKED * most:
        for unit in points(dimensions, seed, first, _BLOCK):
            values = space.decode(unit)
            if space.meets_constraints(values):
                yield values
                yielded += 1
                if yielded == most:
                    return
        first += _BLOCK
