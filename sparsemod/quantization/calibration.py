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

_MOST = 1 << 17  # values per tensor that the slower rules look at


@RANGES.register("minmax")
def minmax(values: NDArray[Any]) -> Range:
    """All values: nothing is clamped."""
    return float(values.min()), float(values.max())


@RANGES.register("percentile")
def percentile(values: NDArray[Any]) -> Range:
    """All but the outermost 0.01 % at each end: finer steps at the price of clamped outliers."""
    low, high = np.quantile(_thin(values), (0.0001, 0.9999))
    return float(low), float(high)


@RANGES.register("mse")
def mse(values: NDArray[Any]) -> Range:
    """The full range shrunk by that factor, of 0.3 to 1 in steps of 0.05, which gives the smallest squared
    rounding error."""
    values = _thin(values)
    low, high = minmax(values)

    def loss(factor: float) -> float:
        step = max((high - low) * factor / 255, 1e-30)
        back = np.clip(np.rint(values / step) * step, low * factor, high * factor)
        return float(np.mean((back - values) ** 2))

    best = min((round(1 - 0.05 * i, 2) for i in range(15)), key=loss)
    return low * best, high * best


def _thin(values: NDArray[Any]) -> NDArray[Any]:
    return values[:: len(values) // _MOST + 1]


def calibrate(graph: Graph, samples: Tensor, rule: str = "minmax") -> dict[str, Range]:
    """(low, high) of every tensor of `graph` over `samples` (N, *input shape), as `rule` of RANGES sees them.

    Raises InvalidInput for no samples, and for values that are not finite (naming the tensor); UnknownName
    for the rule.
    """
    if len(samples) == 0:
        raise InvalidInput("calibration", tuple(samples.shape), "at least one sample")
    choose = RANGES.get(rule, field="quantization.range")
    found: dict[str, Range] = {}

    def observe(name: str, tensor: Tensor) -> None:
        low, high = (float(value) for value in torch.aminmax(tensor))
        if not np.isfinite(low) or not np.isfinite(high):
            raise InvalidInput(f"tensor {name!r}", (low, high), "finite values; the network has diverged")
        # minmax is the common case and needs no copy
        found[name] = (low, high) if rule == "minmax" else choose(tensor.detach().cpu().numpy().ravel())

    with torch.no_grad():
        run_float(graph, samples.detach().cpu().float(), observe)
    return found
