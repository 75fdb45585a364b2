"""Range rules: compute a tensor's real range, which determines its scale, from its values on the calibration samples."""

from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import RangeConfig

Range = tuple[float, float]
C = TypeVar("C", bound=RangeConfig)

_BINS = 1 << 16
_CHUNK = 1 << 20  # values that `mse` processes at a time


class RangeRule(Plugin[C]):
    """Computes the range (low, high) that int8 should span."""

    only_extremes: ClassVar[bool] = False
    """Whether the range depends only on the smallest and the largest value; then `span` receives only these two."""

    def span(self, values: NDArray[Any]) -> Range:
        """Return (low, high) for a tensor's values (float32, one axis, not empty)."""
        raise NotImplementedError


RANGES: Plugins[RangeRule[Any], RangeConfig] = methods.RANGES


@RANGES.register("min_max")
class MinMax(RangeRule[RangeConfig]):
    """All values: nothing is clamped."""

    Config = RangeConfig
    only_extremes = True

    def span(self, values: NDArray[Any]) -> Range:
        """See RangeRule."""
        return float(values.min()), float(values.max())


class PercentileConfig(RangeConfig):
    """Keys of percentile."""

    share: float = Field(0.0001, gt=0, lt=0.5, description="Share of the values left out at each end.")


@RANGES.register("percentile")
class Percentile(RangeRule[PercentileConfig]):
    """All but the outermost 0.01 % at each end, exactly: finer steps at the price of clamped outliers."""

    Config = PercentileConfig

    def span(self, values: NDArray[Any]) -> Range:
        """See RangeRule."""
        low, high = np.quantile(values, (self.config.share, 1 - self.config.share))
        return float(low), float(high)


@RANGES.register("mse")
class LeastSquares(RangeRule[RangeConfig]):
    """The range of the smallest squared rounding error: the full one (0 included), shrunk by a factor of 0.3 to 1 in steps of 0.05.

    The values are counted in 65,536 equal bins, each represented by the mean of its values. A bin is at least 77 times narrower
    than a step of int8.
    """

    Config = RangeConfig

    def span(self, values: NDArray[Any]) -> Range:
        """See RangeRule."""
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        if high - low < float(np.finfo(np.float32).tiny):
            return low, high
        counts, means = _binned(values, low, high)

        def loss(factor: float) -> float:
            step = (high - low) * factor / 255
            back = np.clip(np.rint(means / step) * step, low * factor, high * factor)
            return float(np.sum(counts * (back - means) ** 2))

        best = min((round(1 - 0.05 * i, 2) for i in range(15)), key=loss)
        return low * best, high * best


def _binned(values: NDArray[Any], low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the count and the mean of the values in each nonempty bin of [low, high]."""
    counts, sums = np.zeros(_BINS), np.zeros(_BINS)
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK].astype(np.float64)
        bins = np.minimum((part - low) * (_BINS / (high - low)), _BINS - 1).astype(np.int64)
        counts += np.bincount(bins, minlength=_BINS)
        sums += np.bincount(bins, part, minlength=_BINS)
    full = counts > 0
    return counts[full], sums[full] / counts[full]
