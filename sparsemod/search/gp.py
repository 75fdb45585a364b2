"""A Gaussian process on the error, with predictions in plain numpy.

Hyperparameters are sampled for few points and fitted by BoTorch for many.

The fitted model is BoTorch's `SingleTaskGP` with its kernel and its priors scaled to the number of
dimensions (Hvarfner et al. 2024), on the logit of the error. Good errors span two orders of magnitude, and
bad ones lie just below chance level, where small differences are informative. A column beside the space's
features holds the length of training (logarithm of the epochs, inherited ones included), so that the model
separates rounds of different length.

Sampling and fitting start cold and depend only on their data: a suggester restarted after a kill fits the
same model. Limits on the data and the iterations, and a cache of hyperparameters by the data's digest, keep
this cheap.
"""

import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular

from sparsemod.files import fingerprint
from sparsemod.quality import logit
from sparsemod.search import posterior

Floats = npt.NDArray[np.float64]

PRIOR_SPREAD, PRIOR_POINTS = 1.7, 10
"""Prior standard deviation of the logit (from 2, useless, to -4, good), and its weight in points.

Without it, when all networks so far are bad, as is common at first, their own deviation would rule out a
good one.
"""

SAMPLED = 100
"""Largest number of points for which hyperparameters are sampled; beyond it they are fitted."""

FIT_POINTS = 200
ITERATIONS = 50


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of offset + amplitude^2 exp(-0.5 |(a - b) / lengthscales|^2) on standardized targets.

    They include a constant mean and a noise variance. `offset`: variance of the mean when it is integrated
    out, 0 when it was fitted.
    """

    lengthscales: Floats
    noise: float
    mean: float = 0.0
    amplitude: float = 1.0
    offset: float = 0.0

    def kernel(self, a: Floats, b: Floats) -> Floats:
        """Return the covariances of rows of `a` with rows of `b`, without noise."""
        a, b = a / self.lengthscales, b / self.lengthscales
        square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
        result: Floats = self.offset + self.amplitude**2 * np.exp(-0.5 * np.maximum(square, 0.0))
        return result


class ErrorModel:
    """The posterior of logit(error) for equally likely `hyperparameters`.

    The data are features, shape (n, d), and errors, shape (n,). `deviations`, shape (n,): standard deviations of the
    logits of forecasts, 0 for measured errors; the noise of every point comes on top. `add` conditions on further points in place
    (fantasies for pending trials); `predict` returns mean and standard deviation of the logit.
    """

    def __init__(
        self,
        features: Floats,
        errors: Floats,
        hyperparameters: Sequence[Hyperparameters],
        deviations: Floats | None = None,
    ) -> None:
        logits = logit(errors)
        self._centre, self._scale = float(logits.mean()), _spread(logits)
        self.hyperparameters = tuple(hyperparameters)
        self._features = features
        self._targets = (logits - self._centre) / self._scale
        self._extra = np.zeros(len(errors)) if deviations is None else (deviations / self._scale) ** 2
        self._solve()

    def _solve(self) -> None:
        self._factors = []
        for each in self.hyperparameters:
            kernel = each.kernel(self._features, self._features)
            kernel[np.diag_indices_from(kernel)] += each.noise + 1e-6 + self._extra
            lower = cholesky(kernel, lower=True)
            self._factors.append((lower, cho_solve((lower, True), self._targets - each.mean)))

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the logit of the error, each shape (n,), without observation noise.

        For a mixture these are its first two moments, so that disagreement of the members increases the
        deviation.
        """
        means, variances = [], []
        for each, (lower, weights) in zip(self.hyperparameters, self._factors, strict=True):
            cross = each.kernel(self._features, features)
            reduced = solve_triangular(lower, cross, lower=True, check_finite=False)
            means.append(cross.T @ weights + each.mean)
            prior = each.offset + each.amplitude**2
            variances.append(np.maximum(prior - np.einsum("ij,ij->j", reduced, reduced), 1e-9))
        variance = np.mean(variances, axis=0) + np.var(means, axis=0)
        return self._centre + self._scale * np.mean(means, axis=0), self._scale * np.sqrt(variance)

    def add(self, features: Floats, logit_errors: Floats) -> None:
        """Condition on more points, given as logits; hyperparameters and scaling stay."""
        if len(features) == 0:
            return
        self._features = np.vstack([self._features, features])
        self._targets = np.concatenate([self._targets, (logit_errors - self._centre) / self._scale])
        self._extra = np.concatenate([self._extra, np.zeros(len(features))])
        self._solve()


class Fitter:
    """Fits hyperparameters and caches the last few fits by their data. The cache changes no result."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Hyperparameters, ...]] = OrderedDict()

    def fit(
        self, features: Floats, errors: Floats, deviations: Floats | None = None
    ) -> tuple[Hyperparameters, ...]:
        """Return hyperparameters for the data, see `fit`."""
        forecasts = b"" if deviations is None else deviations.tobytes()
        digest = fingerprint(b"|".join([features.tobytes(), errors.tobytes(), forecasts]))
        if digest not in self._known:
            self._known[digest] = fit(features, errors, deviations)
            if len(self._known) > 8:
                self._known.popitem(last=False)
        return self._known[digest]


def fit(features: Floats, errors: Floats, deviations: Floats | None = None) -> tuple[Hyperparameters, ...]:
    """Return hyperparameters for the data; `deviations` as for ErrorModel.

    Up to SAMPLED points they are a sample of the posterior, beyond it the most probable ones for the measured errors.
    """
    deviations = np.zeros(len(errors)) if deviations is None else deviations
    logits = logit(errors)
    targets = (logits - logits.mean()) / _spread(logits)
    if len(errors) > SAMPLED:
        measured = deviations == 0.0
        return (peak(features[measured], targets[measured]),)
    return tuple(
        Hyperparameters(np.exp(row[:-2]), float(np.exp(row[-2])), 0.0, float(np.exp(row[-1])), 1.0)
        for row in posterior.sample(features, targets, (deviations / _spread(logits)) ** 2)
    )


def peak(features: Floats, targets: Floats) -> Hyperparameters:
    """Return the maximum a posteriori hyperparameters of BoTorch's SingleTaskGP, from a cold start.

    The targets are standardized.
    """
    import torch
    from botorch.exceptions.warnings import BotorchWarning
    from botorch.models import SingleTaskGP
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
    from botorch.optim.fit import fit_gpytorch_mll_scipy
    from gpytorch.mlls import ExactMarginalLogLikelihood

    x, y = torch.from_numpy(features.copy()), torch.from_numpy(targets)[:, None]
    with warnings.catch_warnings():
        # Reaching the iteration limit is intended; standardized targets of few points have not exactly unit
        # variance.
        warnings.simplefilter("ignore", category=BotorchWarning)
        model = SingleTaskGP(
            x,
            y,
            covar_module=get_covar_module_with_dim_scaled_prior(features.shape[1]),
            outcome_transform=None,
        )
        fit_gpytorch_mll_scipy(
            ExactMarginalLogLikelihood(model.likelihood, model), options={"maxiter": ITERATIONS}
        )
    return Hyperparameters(
        lengthscales=model.covar_module.lengthscale.detach().numpy().reshape(-1).copy(),
        noise=float(model.likelihood.noise.detach()),
        mean=float(model.mean_module.constant.detach()),
    )


def fidelity(epochs: float) -> float:
    """Return the feature for the length of training.

    A doubling of the epochs counts like an eighth of a parameter's range.
    """
    return math.log2(max(epochs, 1e-3)) / 8.0


def select_points(
    errors: Floats, features: Floats, keep: npt.NDArray[np.bool_], limit: int
) -> npt.NDArray[np.int64]:
    """Return which points to model when there are more than `limit`.

    They are those in `keep` (the front), the lowest errors, and the rest by spread: greedily the point
    farthest from those already chosen. Indices are ascending, at most `limit`.
    """
    count = len(errors)
    if count <= limit:
        return np.arange(count)
    order = np.lexsort((np.arange(count), errors))
    indices = [int(i) for i in order if keep[i]][: limit // 2]
    best = [int(i) for i in order if i not in set(indices)]
    indices += best[: max(0, (3 * limit) // 4 - len(indices))]
    distance = np.full(count, np.inf)
    for i in indices:
        np.minimum(distance, ((features - features[i]) ** 2).sum(axis=1), out=distance)
    while len(indices) < limit:
        distance[indices] = -1.0
        following = int(np.argmax(distance))
        indices.append(following)
        np.minimum(distance, ((features - features[following]) ** 2).sum(axis=1), out=distance)
    return np.sort(np.array(indices))


def _spread(logits: Floats) -> float:
    """Return the scale of the logits.

    It is their deviation, shrunk towards PRIOR_SPREAD with the weight of PRIOR_POINTS points.
    """
    spread = float(logits.var(ddof=1)) if len(logits) > 1 else 0.0
    return math.sqrt((len(logits) * spread + PRIOR_POINTS * PRIOR_SPREAD**2) / (len(logits) + PRIOR_POINTS))
