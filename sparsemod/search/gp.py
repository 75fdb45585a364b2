"""A Gaussian process on the error: hyperparameters fitted by BoTorch, the posterior in plain numpy.

The model is BoTorch's `SingleTaskGP` with its kernel and priors scaled to the number of dimensions (Hvarfner et al. 2024), on the logit of the
error: good errors span two orders of magnitude, and bad ones crowd below that of guessing, where small differences tell much. A column beside the space's features says how long a network was trained
(logarithm of the epochs, inherited ones included), so that rounds of different length are modelled, not mixed.

Fits start cold and depend on nothing but the data they get: a suggester rebuilt after a kill fits the very same model. What makes that cheap is a
cap on the data and on the iterations, and a cache of hyperparameters by the data's digest.
"""

import hashlib
import math
import warnings
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular

Floats = npt.NDArray[np.float64]

LOW, HIGH = 0.003, 0.03
"""Added to the error and to the accuracy before the logit, so that neither a perfect score nor a useless network is a pole."""

FIT_POINTS = 200
ITERATIONS = 50


@dataclass(frozen=True)
class Hyperparameters:
    """Of a kernel exp(-0.5 |(a - b) / lengthscales|^2) on standardized targets: constant mean, noise variance."""

    lengthscales: Floats
    noise: float
    mean: float


def logit(errors: Floats) -> Floats:
    """The scale on which errors are modelled: log((error + LOW) / (1 - error + HIGH))."""
    errors = np.clip(errors, 0.0, 1.0)
    result: Floats = np.log((errors + LOW) / (1.0 - errors + HIGH))
    return result


def error_of(logits: Floats) -> Floats:
    """The inverse of `logit`, in [0, 1]."""
    odds = np.exp(logits)
    result: Floats = np.clip((odds * (1.0 + HIGH) - LOW) / (1.0 + odds), 0.0, 1.0)
    return result


class ErrorModel:
    """The posterior of logit(error) given features, shape (n, d), and errors, shape (n,).

    `add` conditions on further points in place (fantasies for pending trials); `predict` gives mean and standard deviation of the logit.
    """

    def __init__(self, features: Floats, errors: Floats, hyperparameters: Hyperparameters) -> None:
        logits = logit(errors)
        self._centre, self._scale = float(logits.mean()), _spread(logits)
        self.hyperparameters = hyperparameters
        self._features = features / hyperparameters.lengthscales
        self._targets = (logits - self._centre) / self._scale - hyperparameters.mean
        self._solve()

    def _solve(self) -> None:
        kernel = _kernel(self._features, self._features)
        kernel[np.diag_indices_from(kernel)] += self.hyperparameters.noise + 1e-6
        self._lower = cholesky(kernel, lower=True)
        self._weights = cho_solve((self._lower, True), self._targets)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the logit of the error, each shape (n,); the noise of an observation is not part of it."""
        cross = _kernel(self._features, features / self.hyperparameters.lengthscales)
        mean = cross.T @ self._weights + self.hyperparameters.mean
        reduced = solve_triangular(self._lower, cross, lower=True, check_finite=False)
        variance = np.maximum(1.0 - np.einsum("ij,ij->j", reduced, reduced), 1e-9)
        return self._centre + self._scale * mean, self._scale * np.sqrt(variance)

    def add(self, features: Floats, logit_errors: Floats) -> None:
        """Condition on more points, given as logits; hyperparameters and scaling stay."""
        if len(features) == 0:
            return
        self._features = np.vstack([self._features, features / self.hyperparameters.lengthscales])
        targets = (logit_errors - self._centre) / self._scale - self.hyperparameters.mean
        self._targets = np.concatenate([self._targets, targets])
        self._solve()


class Fitter:
    """Fits hyperparameters, remembering the last few fits by their data. The memory saves time and changes no result."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Hyperparameters] = OrderedDict()

    def fit(self, features: Floats, errors: Floats) -> Hyperparameters:
        """Hyperparameters for the data, by maximum a posteriori."""
        digest = hashlib.sha256(features.tobytes() + b"|" + errors.tobytes()).hexdigest()
        if digest not in self._known:
            self._known[digest] = fit(features, errors)
            if len(self._known) > 8:
                self._known.popitem(last=False)
        return self._known[digest]


def fit(features: Floats, errors: Floats) -> Hyperparameters:
    """Maximum a posteriori hyperparameters of BoTorch's SingleTaskGP on the logit of the error, from a cold start."""
    import torch
    from botorch.exceptions.warnings import BotorchWarning
    from botorch.models import SingleTaskGP
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
    from botorch.optim.fit import fit_gpytorch_mll_scipy
    from gpytorch.mlls import ExactMarginalLogLikelihood

    logits = logit(errors)
    targets = (logits - logits.mean()) / _spread(logits)
    x, y = torch.from_numpy(features.copy()), torch.from_numpy(targets)[:, None]
    with warnings.catch_warnings():
        # Reaching the iteration cap is meant; standardized targets of few points are not exactly of unit variance.
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
    """The column that says how long a network was trained: a doubling of the epochs counts like an eighth of a parameter's range."""
    return math.log2(max(epochs, 1e-3)) / 8.0


def chosen(
    errors: Floats, features: Floats, keep: npt.NDArray[np.bool_], limit: int
) -> npt.NDArray[np.int64]:
    """Which points to model when there are more than `limit`: those in `keep` (the front), the lowest errors, and the rest by spread.

    Ascending indices, at most `limit`. Spread is greedy: the point farthest from those already taken comes next.
    """
    count = len(errors)
    if count <= limit:
        return np.arange(count)
    order = np.lexsort((np.arange(count), errors))
    taken = [int(i) for i in order if keep[i]][: limit // 2]
    best = [int(i) for i in order if i not in set(taken)]
    taken += best[: max(0, (3 * limit) // 4 - len(taken))]
    distance = np.full(count, np.inf)
    for i in taken:
        np.minimum(distance, ((features - features[i]) ** 2).sum(axis=1), out=distance)
    while len(taken) < limit:
        distance[taken] = -1.0
        following = int(np.argmax(distance))
        taken.append(following)
        np.minimum(distance, ((features - features[following]) ** 2).sum(axis=1), out=distance)
    return np.sort(np.array(taken))


def _spread(logits: Floats) -> float:
    spread = float(logits.std(ddof=1)) if len(logits) > 1 else 0.0
    return spread if spread > 1e-9 else 1.0


def _kernel(a: Floats, b: Floats) -> Floats:
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    result: Floats = np.exp(-0.5 * np.maximum(square, 0.0))
    return result
