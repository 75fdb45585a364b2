"""The range of each tensor of a graph over the calibration samples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, run_float
from sparsemod.quantization.ranges import RANGES, Range, RangeRule


def calibrate(
    graph: Graph, samples: Tensor, rule: RangeRule[Any] | None = None, lengths: Tensor | None = None
) -> dict[str, Range]:
    """Return (low, high) of every tensor of `graph` over `samples` (N, *input shape), computed by `rule` (None: min_max).

    `lengths` (N,): the valid steps of the samples, for a graph that uses them.

    Raises InvalidInput for no samples, and for values that are not finite (with the tensor's name).
    """
    if len(samples) == 0:
        raise InvalidInput("calibration", tuple(samples.shape), "at least one sample")
    range_rule = rule or RANGES.create(RANGES.config("min_max"))
    ranges: dict[str, Range] = {}

    def observe(name: str, tensor: Tensor) -> None:
        low, high = (float(value) for value in torch.aminmax(tensor))
        if not np.isfinite(low) or not np.isfinite(high):
            raise InvalidInput(f"tensor {name!r}", (low, high), "finite values; the network has diverged")
        extremes = np.array([low, high], np.float32)
        ranges[name] = range_rule.span(
            extremes if range_rule.only_extremes else tensor.detach().cpu().numpy().ravel()
        )

    with torch.no_grad():
        run_float(graph, samples.detach().cpu().float(), observe, lengths)
    return ranges
