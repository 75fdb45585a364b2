"""Metrics of finished networks, which define `error`. One class each."""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import MetricConfig

C = TypeVar("C", bound=MetricConfig)


@dataclass(frozen=True)
class Score:
    """A metric's value on one split and its standard error, both fractions."""

    value: float
    standard_error: float


class Metric(Plugin[C]):
    """A fraction, 0 to 1, that the search minimizes."""

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """Return the score of outputs (N, classes), of a float or integer network, for targets (N,), N at least 1."""
        raise NotImplementedError


METRICS: Plugins[Metric[Any], MetricConfig] = methods.METRICS


@METRICS.register("error")
class Error(Metric[MetricConfig]):
    """Share of samples whose largest output is not their class; the first of equal outputs counts."""

    Config = MetricConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric. The standard error is that of a binomial share."""
        share = float(np.mean(_predicted_classes(outputs) != targets))
        return Score(share, math.sqrt(share * (1 - share) / len(targets)))


@METRICS.register("balanced_error")
class BalancedError(Metric[MetricConfig]):
    """Mean over the classes of the share of wrong answers: classes of few samples count like the others."""

    Config = MetricConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric. Classes without a sample are left out."""
        wrong = _predicted_classes(outputs) != targets
        classes, counts = np.unique(targets, return_counts=True)
        shares = np.array([wrong[targets == label].mean() for label in classes])
        variance = float(np.sum(shares * (1 - shares) / counts)) / len(classes) ** 2
        return Score(float(shares.mean()), math.sqrt(variance))


def _predicted_classes(outputs: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.argmax(outputs.reshape(len(outputs), -1), axis=1))
