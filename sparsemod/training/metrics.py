"""Metrics of finished networks, which searches minimize. One class each."""

import math
from collections.abc import Callable
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
    """A metric's value on one split and its standard error, in the metric's unit."""

    value: float
    standard_error: float


class Metric(Plugin[C]):
    """A number from 0 that the search minimizes; its unit is that of `Config.key`."""

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """Return the score of the task's predictions, of a float or integer network, for targets, N at least 1.

        Classification: outputs (N, classes) for (N,); labels: outputs (N, K) for 0 or 1 (N, K); regression: values
        (N, K) for (N, K), in the targets' units; anomaly: scores (N,) for 0 or 1 (N,); pixels: outputs
        (N, classes, H, W) for (N, H, W).
        """
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


class ClassF1Config(MetricConfig):
    """Keys of f1_error: none."""


@METRICS.register("f1_error")
class ClassF1(Metric[ClassF1Config]):
    """1 - macro F1: the mean over the classes of the harmonic mean of precision and recall."""

    Config = ClassF1Config

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric. Classes without a sample and without a prediction are left out."""
        found = _predicted_classes(outputs)
        classes = max(int(found.max()), int(targets.max())) + 1
        flat = np.bincount(targets.astype(np.int64) * classes + found, minlength=classes**2)
        resampled = np.random.default_rng(0).multinomial(len(targets), flat / len(targets), size=_RESAMPLES)

        def value(counts: NDArray[Any]) -> NDArray[Any]:
            matrix = counts.reshape(-1, classes, classes)
            true = np.diagonal(matrix, axis1=1, axis2=2)
            return 1 - _mean_ratio(2 * true, matrix.sum(axis=1) + matrix.sum(axis=2))

        return Score(float(value(flat)[0]), float(value(resampled).std()))


METRICS.alias("macro_error", "balanced_error", "macro error")


class HammingConfig(MetricConfig):
    """Keys of hamming_error: none."""

    targets = "labels"
    key = "hamming_error"


@METRICS.register("hamming_error")
class Hamming(Metric[HammingConfig]):
    """Share of labels that are wrong, over samples and labels."""

    Config = HammingConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric."""
        shares = ((outputs > 0) != (targets > 0.5)).mean(axis=1)
        return Score(float(shares.mean()), _deviation_of_mean(shares))


class LabelF1Config(MetricConfig):
    """Keys of label_f1_error: none."""

    targets = "labels"
    key = "label_f1_error"


@METRICS.register("label_f1_error")
class LabelF1(Metric[LabelF1Config]):
    """1 - macro F1: the mean over the labels of the harmonic mean of precision and recall."""

    Config = LabelF1Config

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric. Labels that never hold and are never predicted are left out."""
        found, truth = outputs > 0, targets > 0.5
        counts = np.concatenate([found & truth, found.astype(int) + truth.astype(int)], axis=1).astype(float)

        def value(sums: NDArray[Any]) -> NDArray[Any]:
            both, either = np.split(sums, 2, axis=1)
            return 1 - _mean_ratio(2 * both, either)

        return Score(float(value(counts.sum(axis=0)[None])[0]), _resampled(counts, value))


class AucConfig(MetricConfig):
    """Keys of auc_error: none."""

    targets = "normal"
    key = "auc_error"


@METRICS.register("auc_error")
class AucError(Metric[AucConfig]):
    """1 - AUC: how often a normal sample has a higher score than an anomalous one; equal scores count half."""

    Config = AucConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric. One kind of samples alone gives 1/2. The standard error is that of Hanley and McNeil (1982)."""
        anomalous = targets != 0
        bad, good = int(anomalous.sum()), int((~anomalous).sum())
        if not bad or not good:
            return Score(0.5, 0.5)
        _, places, counts = np.unique(outputs, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[places.reshape(-1)]
        area = (float(ranks[anomalous].sum()) - bad * (bad + 1) / 2) / (bad * good)
        first, second = area / (2 - area), 2 * area**2 / (1 + area)
        variance = area * (1 - area) + (bad - 1) * (first - area**2) + (good - 1) * (second - area**2)
        return Score(1 - area, math.sqrt(max(variance, 0.0) / (bad * good)))


class RmseConfig(MetricConfig):
    """Keys of rmse: none."""

    targets = "values"
    key = "rmse"


@METRICS.register("rmse")
class RootMeanSquaredError(Metric[RmseConfig]):
    """Root of the mean squared difference, over samples and outputs, in the targets' units."""

    Config = RmseConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric."""
        squares = ((outputs.astype(np.float64) - targets) ** 2).mean(axis=1)
        value = math.sqrt(float(squares.mean()))
        return Score(value, _deviation_of_mean(squares) / (2 * value) if value else 0.0)


class MaeConfig(MetricConfig):
    """Keys of mae: none."""

    targets = "values"
    key = "mae"


@METRICS.register("mae")
class MeanAbsoluteDifference(Metric[MaeConfig]):
    """Mean absolute difference, over samples and outputs, in the targets' units."""

    Config = MaeConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric."""
        differences = np.abs(outputs.astype(np.float64) - targets).mean(axis=1)
        return Score(float(differences.mean()), _deviation_of_mean(differences))


class PixelErrorConfig(MetricConfig):
    """Keys of pixel_error: none."""

    targets = "pixels"
    key = "pixel_error"


@METRICS.register("pixel_error")
class PixelError(Metric[PixelErrorConfig]):
    """Share of positions with a wrong class."""

    Config = PixelErrorConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric."""
        shares = (outputs.argmax(axis=1) != targets).reshape(len(targets), -1).mean(axis=1)
        return Score(float(shares.mean()), _deviation_of_mean(shares))


class IouConfig(MetricConfig):
    """Keys of iou_error: none."""

    targets = "pixels"
    key = "iou_error"


@METRICS.register("iou_error")
class IouError(Metric[IouConfig]):
    """1 - mean IoU: the mean over the classes of intersection over union of predicted and true positions."""

    Config = IouConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        """See Metric. Classes without a position, predicted or true, are left out."""
        count, classes = len(targets), outputs.shape[1]
        found, truth = outputs.argmax(axis=1).reshape(count, -1), targets.reshape(count, -1)
        both = np.stack([((found == c) & (truth == c)).sum(axis=1) for c in range(classes)], axis=1)
        either = np.stack([((found == c) | (truth == c)).sum(axis=1) for c in range(classes)], axis=1)

        def value(sums: NDArray[Any]) -> NDArray[Any]:
            return 1 - _mean_ratio(*np.split(sums, 2, axis=1))

        counts = np.concatenate([both, either], axis=1).astype(float)
        return Score(float(value(counts.sum(axis=0)[None])[0]), _resampled(counts, value))


_RESAMPLES = 100
"""Bootstrap samples of a standard error."""


def _mean_ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[Any]:
    """Return the mean over axis 1 of above / below; entries with below 0 are left out, and 0 without any entry."""
    known = below > 0
    ratios = np.where(known, above / np.where(known, below, 1), 0.0)
    return np.asarray(ratios.sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def _resampled(counts: NDArray[Any], value: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
    """Return the bootstrap standard error of value(sums of counts over the samples), counts (N, k)."""
    drawn = np.random.default_rng(0).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), _RESAMPLES
    )
    return float(value(drawn @ counts).std())


def _deviation_of_mean(values: NDArray[Any]) -> float:
    return float(values.std()) / math.sqrt(len(values))


def _predicted_classes(outputs: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.argmax(outputs.reshape(len(outputs), -1), axis=1))
