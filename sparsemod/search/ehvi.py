"""Expected hypervolume improvement in closed form, when all objectives but the error are known exactly.

The part of the reference box that the front does not dominate is cut into disjoint boxes once. A
candidate's known costs clip each box to a known volume. The uncertain error contributes the difference of
its expected improvement between the box's two error bounds. The sum over the boxes is the expected gain,
without sampling; one integral over the error's distribution is computed on a grid. The method follows the
exact EHVI of Emmerich, Deutz and Klinkenberg (2011) and Yang et al. (2019), with a point mass instead of a
Gaussian in every dimension but one.

Objectives are places on their scales (see `Objectives.vector`): everything lies in the unit box and is
minimized.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BLOCK = 4_000_000  # largest number of elements of a temporary array when candidates are scored: 32 MB


@dataclass(frozen=True)
class Cells:
    """Disjoint boxes that fill the non-dominated part of the unit box.

    `lower`, `upper`: shape (cells, known objectives). `start`, `end`: the cells' bounds in the uncertain objective, as places in `levels`
    (ascending, from 0 to 1). Without an uncertain objective `levels` is (0, 1) and every cell spans it.
    """

    lower: Floats
    upper: Floats
    start: Ints
    end: Ints
    levels: Floats


def decompose(known: Floats, uncertain: Floats | None) -> Cells:
    """Return the cells that the points leave free.

    The points have the `known` objectives, shape (n, k), and the `uncertain` one, shape (n,) or None. The
    uncertain objective is swept upwards. At each point's level its orthant is cut out of the open boxes, so
    that a box ends at the level where it changes. Equal levels share a step.
    """
    count, dimensions = known.shape
    sweep = np.zeros(count) if uncertain is None else np.clip(uncertain, 0.0, 1.0)
    inside = np.all(known < 1.0, axis=1) & (sweep < 1.0)
    known, sweep = np.clip(known[inside], 0.0, 1.0), sweep[inside]
    levels = np.unique(np.concatenate([sweep, [0.0, 1.0]]))
    # Process far-reaching points of a level first: they remove much, so later points cut fewer boxes.
    order = np.lexsort((known.sum(axis=1), sweep))
    lower, upper = np.zeros((1, dimensions)), np.ones((1, dimensions))
    start = np.zeros(1, dtype=np.int64)
    closed: list[tuple[Floats, Floats, Ints, Ints]] = []
    for place in order:
        point = known[place]
        level = int(np.searchsorted(levels, sweep[place]))
        hit = np.all(point < upper, axis=1)
        if not hit.any():
            continue
        low, high, since = lower[hit], upper[hit], start[hit]
        lasted = since < level
        closed.append((low[lasted], high[lasted], since[lasted], np.full(lasted.sum(), level)))
        pieces_low, pieces_high = _without_orthant(point, low, high)
        lower = np.concatenate([lower[~hit], pieces_low])
        upper = np.concatenate([upper[~hit], pieces_high])
        start = np.concatenate([start[~hit], np.full(len(pieces_low), level)])
    closed.append((lower, upper, start, np.full(len(lower), len(levels) - 1)))
    parts = [np.concatenate([cell[i] for cell in closed]) for i in range(4)]
    return Cells(parts[0], parts[1], parts[2].astype(np.int64), parts[3].astype(np.int64), levels)


def _without_orthant(point: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Return the boxes without the region where every coordinate is at least `point`'s, as disjoint boxes.

    There is one slab per dimension.
    """
    cut = np.maximum(point, low)
    lows, highs = [np.empty((0, low.shape[1]))], [np.empty((0, low.shape[1]))]
    for j in range(low.shape[1]):
        some = cut[:, j] > low[:, j]
        if some.any():
            slab_low, slab_high = low[some].copy(), high[some].copy()
            slab_low[:, :j] = cut[some, :j]
            slab_high[:, j] = cut[some, j]
            lows.append(slab_low)
            highs.append(slab_high)
    return np.concatenate(lows), np.concatenate(highs)


def improvement(cells: Cells, known: Floats, below: Floats | None) -> Floats:
    """Return the (expected) gain in hypervolume of each candidate, shape (n,).

    `known`: the candidates' exact objectives, shape (n, k). `below`: for each candidate and level t of
    `cells.levels`, the expected amount by which its uncertain objective falls below t, E[max(t - y, 0)],
    shape (n, levels). It is None when every objective is known; the gain is then exact.
    """
    count = len(known)
    gain = np.zeros(count)
    known = np.clip(known, 0.0, 1.0)
    block = max(1, _BLOCK // max(1, len(cells.lower)))
    for first in range(0, count, block):
        rows = slice(first, min(first + block, count))
        if below is None:
            volume = np.ones((rows.stop - first, len(cells.lower)))
        else:
            volume = below[rows][:, cells.end] - below[rows][:, cells.start]
        for j in range(known.shape[1]):
            edge = cells.upper[:, j] - np.maximum(cells.lower[:, j], known[rows, j, None])
            volume *= np.maximum(edge, 0.0, out=edge)
        gain[rows] = volume.sum(axis=1)
    return gain


def expected_below(levels: Floats, probability: Callable[[Floats], Floats]) -> Floats:
    """Return E[max(t - y, 0)] at each level t in [0, 1], shape (n, levels), of variables that are never below 0.

    `probability` gives P(y <= s) of each of the n variables at points s, shape (n, points). The expectation
    is its integral from 0 to t, by the trapezoid rule on the levels and 200 points that are denser towards
    0.
    """
    grid = np.unique(np.concatenate([np.linspace(0.0, 1.0, 200) ** 1.5, levels]))
    height = probability(grid)
    area = np.cumsum(0.5 * (height[:, 1:] + height[:, :-1]) * np.diff(grid), axis=1)
    integral = np.concatenate([np.zeros((len(height), 1)), area], axis=1)
    result: Floats = integral[:, np.searchsorted(grid, levels)]
    return result
