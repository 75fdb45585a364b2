"""Exact costs by candidate, cached, and a fast estimate for candidates that have not been built.

An exact cost takes tens of milliseconds, because a network is built and captured, and a pool holds a
thousand candidates. So the estimate ranks the pool, and only the best candidates are built. The estimate is
trained on the observations, a fixed sample of the space, and the networks that the current suggestion has
built. It never uses the cache, so it does not depend on how long the process has run.
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
    """Calls `costs` once for each candidate and caches the answer, build errors included."""

    def __init__(self, space: Space, costs: Costs) -> None:
        self._space, self._costs = space, costs
        self._known: dict[str, dict[str, float] | str] = {}

    def look(self, values: Mapping[str, Value]) -> dict[str, float] | str:
        """Return the costs, or the error's message when the network cannot be built."""
        key = self._space.key(values)
        if key not in self._known:
            try:
                self._known[key] = dict(self._costs(values))
            except (BuildError, Unsupported) as error:
                self._known[key] = str(error)
        return self._known[key]


class CostEstimate:
    """Estimated costs: a Gaussian process on the logarithms, with a linear and a smooth part.

    The length scale maximizes the evidence. `features`: shape (n, d); `costs`: shape (n, metrics),
    positive; at least two rows. Beyond 300 rows, every k-th row is used.
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
            # The evidence, with each metric's amplitude at its maximum, summed over the metrics.
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
        """Return median costs and the standard deviation of their logarithms, each shape (n, metrics)."""
        cross = self._kernel(self._x, features, self._length)
        reduced = solve_triangular(self._lower, cross, lower=True, check_finite=False)
        prior_variance = 1.0 + ((features - 0.5) ** 2).sum(axis=1)
        deviation = np.sqrt(np.maximum(prior_variance - (reduced**2).sum(axis=0), 1e-8))
        median = np.exp(self._centre + self._scale * (cross.T @ self._weights))
        return median, deviation[:, None] * (self._amplitude * self._scale)[None, :]


def table(rows: Sequence[Mapping[str, float]], metrics: Sequence[str]) -> Floats:
    """Return the rows' `metrics` as an array, shape (rows, metrics)."""
    return np.array([[row[m] for m in metrics] for row in rows], dtype=float).reshape(len(rows), len(metrics))
