"""The real range of each tensor, from a batch of samples: what activations' scales are made of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, run_float
from sparsemod.registry import Registry

Range = tuple[float, float]
RangeRule = Callable[[NDArray[Any]], Range]

RANGES: Registry[RangeRule] = Registry("range rule", "sparsemod.range_rules", builtin=(__name__,))
"""Functions from a tensor's values (float32, one axis, not empty) to the (low, high) that int8 should span,
by name."""

_BINS = 1 << 16
_CHUNK = 1 << 20  # values that `mse` looks at in one go


@RANGES.register("min_max")
def min_max(values: NDArray[Any]) -> Range:
    """All values: nothing is clamped."""
    return float(values.min()), float(values.max())


@RANGES.register("percentile")
def percentile(values: NDArray[Any]) -> Range:
    """All but the outermost 0.01 % at each end, exactly: finer steps at the price of clamped outliers."""
    low, high = np.quantile(values, (0.0001, 0.9999))
    return float(low), float(high)


@RANGES.register("mse")
def mse(values: NDArray[Any]) -> Range:
    """The full range (0 included) shrunk by that factor, of 0.3 to 1 in steps of 0.05, which gives the smallest
    squared rounding error over all values.

    The values are counted in 65,536 equal bins, each with the mean of its own values; a bin is at least 77 times
    narrower than a step of int8.
    """
    low, high = min_max(values)
    low, high = min(low, 0.0), max(high, 0.0)
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
    """The count and the mean of the values in each bin of [low, high] that holds any."""
    counts, sums = np.zeros(_BINS), np.zeros(_BINS)
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK].astype(np.float64)
        bins = np.minimum((part - low) * (_BINS / (high - low)), _BINS - 1).astype(np.int64)
        counts += np.bincount(bins, minlength=_BINS)
        sums += np.bincount(bins, part, minlength=_BINS)
    full = counts > 0
    return counts[full], sums[full] / counts[full]


def calibrate(graph: Graph, samples: Tensor, rule: str = "min_max") -> dict[str, Range]:
    """(low, high) of every tensor of `graph` over `samples` (N, *input shape), as `rule` of RANGES sees them.

    Raises InvalidInput for no samples, and for values that are not finite (naming the tensor); UnknownName
    for the rule.
    """
    if len(samples) == 0:
        raise InvalidInput("calibration", tuple(samples.shape), "at least one sample")
    choose = RANGES.get(rule, field="quantization.activation_ranges")
    found: dict[str, Range] = {}

    def observe(name: str, tensor: Tensor) -> None:
        low, high = (float(value) for value in torch.aminmax(tensor))
        if not np.isfinite(low) or not np.isfinite(high):
            raise InvalidInput(f"tensor {name!r}", (low, high), "finite values; the network has diverged")
        # min_max is the common case and needs no copy
        found[name] = (low, high) if rule == "min_max" else choose(tensor.detach().cpu().numpy().ravel())

    with torch.no_grad():
        run_float(graph, samples.detach().cpu().float(), observe)
    return found
