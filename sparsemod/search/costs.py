"""Exact costs by candidate, remembered; and a quick estimate of them for candidates that nobody has built yet.

A cost is exact but not free (a network is built and captured: tens of milliseconds), and a pool holds a thousand candidates. So the pool is ranked by
the estimate and only the front-runners are built. The estimate is trained on what the observations hold, a fixed sample of the space and what
the present suggestion has built; never on the cache, so that it does not depend on the life of the process.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular

from sparsemod.errors import BuildError, Unsupported
from sparsemod.records import Value
from sparsemod.sources.observation import Costs
from sparsemod.space.space import Space

Floats = npt.NDArray[np.float64]

_LENGTHS = (0.5, 1.0, 2.0, 4.0)
_NOISE = 1e-4
_TRAIN = 300


class CostBook:
    """Asks `costs` once for each candidate and remembers the answer, also that a network cannot be built."""

    def __init__(self, space: Space, costs: Costs) -> None:
        self._space, self._costs = space, costs
        self._known: dict[str, dict[str, float] | str] = {}

    def look(self, values: Mapping[str, Value]) -> dict[str, float] | str:
        """The costs, or the message of the error when the network cannot be built."""
        key = self._space.key(values)
        if key not in self._known:
            try:
                self._known[key] = dict(self._costs(values))
            except (BuildError, Unsupported) as error:
                self._known[key] = str(error)
        return self._known[key]


class CostEstimate:
    """Costs guessed from features: a Gaussian process with a linear and a smooth part on their logarithms, the length scale chosen by evidence.

    `features`: shape (n, d), `costs`: shape (n, metrics), positive; at least two rows. Beyond 300 rows every k-th is used.
    """

    def __init__(self, features: Floats, costs: Floats) -> None:
        step = -(-len(features) // _TRAIN)
        self._x = features[::-1][::step]
        logs = np.log(np.maximum(costs[::-1][::step], 1e-9))
        self._centre, scale = logs.mean(axis=0), logs.std(axis=0)
        self._scale = np.where(scale > 1e-9, scale, 1.0)
        y = (logs - self._centre) / self._scale
        best: tuple[float, float, Floats, Floats] | None = None
        for length in _LENGTHS:
            kernel = self._kernel(self._x, self._x, length)
            kernel[np.diag_indices_from(kernel)] += _NOISE
            lower = cholesky(kernel, lower=True)
            weights = cho_solve((lower, True), y)
            # Evidence with each metric's own amplitude at its maximum, summed over the metrics.
            amplitude = np.maximum((y * weights).sum(axis=0) / len(y), 1e-12)
            evidence = float(
                -0.5 * len(y) * np.log(amplitude).sum() - y.shape[1] * np.log(np.diag(lower)).sum()
            )
            if best is None or evidence > best[0]:
                best = (evidence, length, lower, weights)
                self._amplitude = np.sqrt(amplitude)
        if best is None:  # _LENGTHS is not empty
            raise ValueError("no length scale")
        _, self._length, self._lower, self._weights = best

    @staticmethod
    def _kernel(a: Floats, b: Floats, length: float) -> Floats:
        square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
        linear = (a - 0.5) @ (b - 0.5).T
        result: Floats = np.exp(-0.5 * np.maximum(square, 0.0) / length**2) + linear
        return result

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Median costs and the standard deviation of their logarithms, each shape (n, metrics)."""
        cross = self._kernel(self._x, features, self._length)
        reduced = solve_triangular(self._lower, cross, lower=True, check_finite=False)
        own = 1.0 + ((features - 0.5) ** 2).sum(axis=1)
        deviation = np.sqrt(np.maximum(own - (reduced**2).sum(axis=0), 1e-8))
        median = np.exp(self._centre + self._scale * (cross.T @ self._weights))
        return median, deviation[:, None] * (self._amplitude * self._scale)[None, :]


def table(rows: Sequence[Mapping[str, float]], metrics: Sequence[str]) -> Floats:
    """The rows' `metrics` as an array, shape (rows, metrics)."""
    return np.array([[row[m] for m in metrics] for row in rows], dtype=float).reshape(len(rows), len(metrics))
