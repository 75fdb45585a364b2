"""The task's metric as models see it: a share of its range, on a logit scale.

Good errors span two orders of magnitude. Bad ones lie just below chance level, where small differences are informative.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparsemod.objectives import Objectives
from sparsemod.units import METRICS

Floats = npt.NDArray[np.float64]

LOW, HIGH = 0.003, 0.03
"""Added to the error and to the accuracy before the logit, so that errors of 0 and 1 stay finite."""

_BEYOND = 2.0
"""Range of a metric without an upper limit: this multiple of its reference value. Worse values count like the end."""


@dataclass(frozen=True)
class Quality:
    """The metric `name` that is known only after training, with values from 0 to `most`."""

    name: str
    most: float

    @classmethod
    def of(cls, name: str, objectives: Objectives) -> "Quality":
        """Return the metric with its range: up to 1 for a fraction, else up to twice its reference value or budget."""
        limit = objectives.reference.get(name, objectives.budgets.get(name, 1.0))
        return cls(name, 1.0 if METRICS[name].bounded else _BEYOND * limit)

    def share(self, values: npt.ArrayLike) -> Floats:
        """Return values of the metric as shares of its range."""
        return np.asarray(values, np.float64) / self.most

    def value(self, shares: npt.ArrayLike) -> Floats:
        """Return the inverse of `share`."""
        return np.asarray(shares, np.float64) * self.most


def logit(errors: Floats) -> Floats:
    """Return the scale on which errors are modelled: log((error + LOW) / (1 - error + HIGH))."""
    errors = np.clip(errors, 0.0, 1.0)
    result: Floats = np.log((errors + LOW) / (1.0 - errors + HIGH))
    return result


def error_of(logits: Floats) -> Floats:
    """Return the inverse of `logit`, in [0, 1]."""
    odds = np.exp(logits)
    result: Floats = np.clip((odds * (1.0 + HIGH) - LOW) / (1.0 + odds), 0.0, 1.0)
    return result
