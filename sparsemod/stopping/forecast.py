"""Where a learning curve will end: an ensemble of simple curves, each corrected by the trainings that have ended.

A member is a curve of two free parameters, c + a f(epoch), fitted to the epochs so far by least squares. Its
extrapolation to the last epoch is the input of a Bayesian linear regression on the final values of earlier trainings at
the same epoch. The regression learns what no single curve knows, such as the gain of a learning rate that falls at the
end and the loss by quantization, and how far to trust the member. Members are weighted by their evidence (Bayesian
model averaging). The prediction of a member is a Student's t distribution, that of the ensemble their mixture. The
formulas are those of Bishop (Pattern Recognition and Machine Learning, 2006), sections 3.3 to 3.5, with an unknown
variance of the noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHAPES: tuple[Callable[[Floats], Floats], ...] = (
    lambda t: t**-0.5,
    lambda t: t**-1.0,
    lambda t: np.exp(-4.0 * t),
    lambda t: np.log(t),
)
"""The curves' f; t is the finished share of the training, in (0, 1]."""

OFFSET, SLOPE = 1.0, 0.5
"""Prior standard deviations of a regression's corrections, in units of the noise: of the offset, and of the slope around 1."""

FREEDOM, NOISE = 1.0, 0.4
"""Prior of the noise of the final logit: shape of the inverse gamma distribution, and its standard deviation."""


@dataclass(frozen=True)
class Forecast:
    """A mixture of Student's t distributions of the final logit; every array has the shape (members,)."""

    weights: Floats
    centres: Floats
    scales: Floats
    freedom: float

    def below(self, value: float) -> float:
        """Return the probability that the final logit is below `value`."""
        from scipy.special import stdtr

        return float(self.weights @ stdtr(self.freedom, (value - self.centres) / self.scales))

    def moments(self) -> tuple[float, float]:
        """Return mean and standard deviation."""
        mean = float(self.weights @ self.centres)
        within = self.scales**2 * self.freedom / (self.freedom - 2.0)
        return mean, math.sqrt(float(self.weights @ (within + (self.centres - mean) ** 2)))


def extrapolated(curves: Floats, epochs: int) -> Floats:
    """Return where each member lets the curves end, shape (members, n).

    `curves`: logits, shape (n, finished epochs); `epochs`: planned ones. The best epoch is kept, so that no curve ends
    above its lowest value. The first member expects no further gain.
    """
    finished = curves.shape[1]
    best = curves.min(axis=1)
    times = np.arange(1, finished + 1) / epochs
    ends = [best]
    if finished > 1:
        for shape in SHAPES:
            design = np.column_stack([np.ones(finished), shape(times)])
            offset, factor = np.linalg.pinv(design) @ curves.T
            ends.append(np.minimum(best, offset + factor * shape(np.ones(1))))
    return np.array(ends)


def forecast(curve: Floats, peers: Floats, finals: Floats, epochs: int) -> Forecast:
    """Return where `curve` (logits of the finished epochs) will end after `epochs` epochs.

    `peers`: the same epochs of at least two trainings that have ended, shape (n, finished epochs); `finals`: their
    final logits, shape (n,).
    """
    ends = extrapolated(np.vstack([curve[None, :], peers]), epochs)
    found = [_corrected(end[0], end[1:], finals) for end in ends]
    evidence, centres, scales = map(np.array, zip(*found, strict=True))
    weights = np.exp(evidence - evidence.max())
    return Forecast(weights / weights.sum(), centres, scales, 2.0 * FREEDOM + len(finals))


def _corrected(end: float, ends: Floats, finals: Floats) -> tuple[float, float, float]:
    """Return a member's evidence (up to a constant), and centre and scale of its prediction.

    `end`: its extrapolation of the curve; `ends`: those of the ended trainings, whose final logits are `finals`.
    """
    middle = ends.mean()
    inputs = np.column_stack([np.ones(len(ends)), ends - middle])
    row = np.array([1.0, end - middle])
    residuals = finals - ends
    precision = np.diag([OFFSET**-2, SLOPE**-2])
    posterior = precision + inputs.T @ inputs
    weights = np.linalg.solve(posterior, inputs.T @ residuals)
    shape = FREEDOM + len(ends) / 2
    rate = FREEDOM * NOISE**2 + 0.5 * max(0.0, float(residuals @ residuals - weights @ posterior @ weights))
    evidence = -0.5 * math.log(np.linalg.det(posterior)) - shape * math.log(rate)
    scale = math.sqrt(rate / shape * (1.0 + float(row @ np.linalg.solve(posterior, row))))
    return evidence, end + float(row @ weights), scale
