"""Hyperparameters of a Gaussian process from few data: a sample of their posterior instead of its maximum.

With ten or twenty points in a dozen dimensions, many lengthscales explain the data. The most probable ones
alone give overconfident predictions, and the search then ignores regions with good networks. A mixture over
the sample includes this uncertainty. The sampler is elliptical slice sampling (Murray, Adams and MacKay
2010). It suits the priors, which are normal in the logarithms, needs no tuning, and a chain costs a few
hundred small Cholesky factorizations.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky

Floats = npt.NDArray[np.float64]

LENGTHSCALE = (0.7, 0.7)
"""Mean and standard deviation of the logarithm of a lengthscale, for features in [0, 1].

The median is 2, a nearly linear effect.
"""

NOISE = (-4.0, 1.0)
"""Mean and standard deviation of the logarithm of the noise variance.

The targets have unit variance; this is BoTorch's prior.
"""

AMPLITUDE = (0.0, 0.3)
"""Mean and standard deviation of the logarithm of the kernel's standard deviation."""

STEPS, BURN_IN, KEPT = 120, 40, 12


def sample(features: Floats, targets: Floats, extra: Floats | None = None) -> Floats:
    """Return rows (logarithms of the lengthscales..., of the noise variance, of the amplitude), shape (KEPT, d + 2).

    Equal data give an equal sample. `features`: shape (n, d). `targets`: shape (n,), about standardized;
    their constant mean has a unit normal prior and is integrated out. `extra`: further noise variances, shape (n,).
    """
    extra = np.zeros(len(targets)) if extra is None else extra
    rng = np.random.default_rng(0)
    dimensions = features.shape[1]
    centre = np.array([LENGTHSCALE[0]] * dimensions + [NOISE[0], AMPLITUDE[0]])
    spread = np.array([LENGTHSCALE[1]] * dimensions + [NOISE[1], AMPLITUDE[1]])
    squares = (features[:, None, :] - features[None, :, :]) ** 2
    current = centre.copy()
    height = _evidence(squares, targets, extra, current)
    samples: list[Floats] = []
    for step in range(1, STEPS + 1):
        direction = rng.normal(size=len(current)) * spread
        level = height + math.log(1.0 - rng.random())
        angle = rng.uniform(0.0, 2.0 * math.pi)
        low, high = angle - 2.0 * math.pi, angle
        while True:
            proposal = centre + (current - centre) * math.cos(angle) + direction * math.sin(angle)
            value = _evidence(squares, targets, extra, proposal)
            if value > level or high - low < 1e-9:
                break
            low, high = (angle, high) if angle < 0.0 else (low, angle)
            angle = rng.uniform(low, high)
        if value > level:
            current, height = proposal, value
        if step > BURN_IN and len(samples) < (step - BURN_IN) * KEPT // (STEPS - BURN_IN):
            samples.append(current)
    return np.array(samples)


def _evidence(squares: Floats, targets: Floats, extra: Floats, place: Floats) -> float:
    """Return the logarithm of the marginal likelihood up to a constant; minus infinity for a singular kernel."""
    kernel = np.exp(2.0 * place[-1] - 0.5 * (squares @ np.exp(-2.0 * place[:-2]))) + 1.0
    kernel[np.diag_indices_from(kernel)] += np.exp(place[-2]) + 1e-6 + extra
    try:
        lower = cholesky(kernel, lower=True, check_finite=False)
    except LinAlgError:
        return -math.inf
    weights = cho_solve((lower, True), targets, check_finite=False)
    return float(-0.5 * targets @ weights - np.log(np.diag(lower)).sum())
