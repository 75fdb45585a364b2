"""Objectives, their scales, budgets, dominance, the front, and hypervolume in a fixed box.

Everything is minimized. Each objective has a scale, linear or logarithmic, from a lowest value to its reference value. Hypervolume is
computed on that scale: it is a share of the box between the lowest values and the reference point, a number in [0, 1] without unit. It is
comparable over the whole life of an experiment because the box is fixed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import moocore
import numpy as np
import numpy.typing as npt

from sparsemod.errors import InvalidInput
from sparsemod.scales import Scale

Floats = npt.NDArray[np.float64]

NEAREST = 5
"""Number of rows over a budget that stand for the front while it is empty."""


@dataclass(frozen=True)
class Objectives:
    """Objectives (`names`, in the user's order), `reference` point (metric -> value), `budgets` and `scales`.

    `budgets`: metric -> upper limit; a budget may also limit a metric that is no objective. `scales`: metric ->
    scale that ends at the reference value; an objective without one has a linear scale from 0. Raises InvalidInput
    when an objective has no positive reference value, or a scale that does not end there.
    """

    names: tuple[str, ...]
    reference: Mapping[str, float]
    budgets: Mapping[str, float]
    scales: Mapping[str, Scale] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name in self.names:
            if not self.reference.get(name, 0.0) > 0.0:
                raise InvalidInput(
                    f"reference_point.{name}",
                    self.reference.get(name),
                    "a positive number for every objective",
                )
            scale = self.scales.get(name)
            if scale is not None and scale.high != self.reference[name]:
                raise InvalidInput(
                    f"scales.{name}.high", scale.high, f"the reference value, {self.reference[name]:g}"
                )
        linear = {name: Scale("linear", 0.0, float(self.reference[name])) for name in self.names}
        object.__setattr__(self, "scales", {**linear, **self.scales})

    def over_budget(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the broken budgets: metric -> excess in the metric's unit. Metrics missing in `values` are ignored."""
        return {
            m: values[m] - limit
            for m, limit in self.budgets.items()
            if m in values and not values[m] <= limit
        }

    def feasible(self, values: Mapping[str, float]) -> bool:
        """Return whether the known metrics break no budget."""
        return not self.over_budget(values)

    def vector(self, values: Mapping[str, float]) -> Floats:
        """Return the objectives' places on their scales, shape (number of objectives,): 1 at the reference point.

        Raises InvalidInput when a value is missing.
        """
        for name in self.names:
            if name not in values:
                raise InvalidInput(f"values.{name}", sorted(values), "a value for every objective")
        return np.array([self.scales[name].unit(values[name]) for name in self.names])

    def matrix(self, rows: Iterable[Mapping[str, float]]) -> Floats:
        """Return `vector` of each row, shape (rows, objectives)."""
        vectors = [self.vector(row) for row in rows]
        return np.stack(vectors) if vectors else np.empty((0, len(self.names)))

    def front(self, rows: Sequence[Mapping[str, float]]) -> list[int]:
        """Return the indices of the rows on the Pareto front: feasible and not dominated by another feasible row.

        Of equal rows, the first is returned.
        """
        feasible = [i for i, row in enumerate(rows) if self.feasible(row)]
        return [feasible[i] for i in nondominated(self.matrix(rows[i] for i in feasible))]

    def excess(self, values: Mapping[str, float]) -> float:
        """Return how far the known metrics are from the budgets: the sum of log(value / limit) over the broken ones.

        0 means that no known metric breaks a budget; infinity, that one is not a number.
        """
        total = 0.0
        for metric in self.over_budget(values):
            ratio = values[metric] / self.budgets[metric]
            total += math.log(ratio) if ratio >= 1.0 else math.inf
        return total

    def nearest_misses(self, rows: Sequence[Mapping[str, float]], count: int) -> list[int]:
        """Return the indices of up to `count` rows over a budget, the smallest `excess` first."""
        missed = [(self.excess(row), i) for i, row in enumerate(rows) if not self.feasible(row)]
        return [i for excess, i in sorted(missed) if excess < math.inf][:count]

    def hypervolume(self, rows: Sequence[Mapping[str, float]]) -> float:
        """Return the share of the box that the feasible rows dominate on the scales, in [0, 1]."""
        return hypervolume(self.matrix(row for row in rows if self.feasible(row)))

    def history(self, rows: Sequence[Mapping[str, float]]) -> list[float]:
        """Return the hypervolume after each row, in the given order."""
        growing = GrowingFront(self)
        return [growing.add(place, row) for place, row in enumerate(rows)]


class GrowingFront:
    """A front that grows by one row at a time, in the order of completion.

    `members`: the keys of the rows on the front, in the order of their addition. `hypervolume`: the share of
    the box that they dominate. `nearest`: while there are no members, the keys and values of up to NEAREST rows
    over a budget, the smallest `excess` first.
    """

    def __init__(self, objectives: Objectives) -> None:
        self.objectives = objectives
        self.members: list[int] = []
        self.hypervolume = 0.0
        self.nearest: list[tuple[int, Mapping[str, float]]] = []
        self._points = np.empty((0, len(objectives.names)))

    def add(self, key: int, row: Mapping[str, float]) -> float:
        """Add a row and return the hypervolume.

        A row that breaks a budget, or has no value of some objective, is not on the front. The hypervolume
        is computed only for rows that extend the front within the reference box.
        """
        objectives = self.objectives
        if any(name not in row for name in objectives.names):
            return self.hypervolume
        if not objectives.feasible(row):
            if not self.members and objectives.excess(row) < math.inf:
                missed = [*self.nearest, (key, row)]
                self.nearest = sorted(missed, key=lambda one: objectives.excess(one[1]))[:NEAREST]
            return self.hypervolume
        self.nearest = []
        point = objectives.vector(row)
        if np.any(np.all(self._points <= point, axis=1)):
            return self.hypervolume
        undominated = ~np.all(point <= self._points, axis=1)
        self._points = np.vstack([self._points[undominated], point])
        self.members = [member for member, keep in zip(self.members, undominated, strict=True) if keep] + [
            key
        ]
        if np.all(point < 1.0):
            self.hypervolume = max(self.hypervolume, hypervolume(self._points))
        return self.hypervolume


def nondominated(points: Floats) -> list[int]:
    """Return the indices of the non-dominated rows of `points`, shape (n, m), in ascending order.

    Of equal rows, the first is returned.
    """
    if len(points) == 0:
        return []
    if points.shape[1] == 1:
        return [int(np.argmin(points[:, 0]))]
    return [int(i) for i in np.flatnonzero(moocore.is_nondominated(points))]


def hypervolume(points: Floats) -> float:
    """Return the volume that `points`, shape (n, m), dominate within the unit box."""
    inside = points[np.all(points < 1.0, axis=1)] if len(points) else points
    if len(inside) == 0:
        return 0.0
    clipped = np.maximum(inside, 0.0)
    if clipped.shape[1] == 1:
        return float(1.0 - clipped.min())
    return float(moocore.hypervolume(clipped, ref=np.ones(clipped.shape[1])))
