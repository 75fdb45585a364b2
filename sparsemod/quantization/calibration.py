"""The range of each tensor of a graph over the calibration samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, run_float_named
from sparsemod.quantization.ranges import RANGES, Range, RangeRule

Samples = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""Float samples (N, *input shape) of the only input, or of several inputs in their order or by name."""


def named_samples(graph: Graph, samples: Samples) -> dict[str, Tensor]:
    """Return the samples by the names of the graph's inputs. Raises InvalidInput for another number of inputs."""
    if isinstance(samples, Tensor):
        samples = [samples]
    if isinstance(samples, Mapping):
        return dict(samples)
    if len(samples) != len(graph.inputs):
        raise InvalidInput(
            "samples", f"{len(samples)} tensors", f"one for each input: {', '.join(graph.inputs)}"
        )
    return dict(zip(graph.inputs, samples, strict=True))


def calibrate(
    graph: Graph, samples: Samples, rule: RangeRule[Any] | None = None, lengths: Tensor | None = None
) -> dict[str, Range]:
    """Return (low, high) of every tensor of `graph` over `samples` (see `Samples`), computed by `rule` (None: min_max).

    `lengths` (N,): the valid steps of the samples, for a graph that uses them.

    Raises InvalidInput for no samples, and for values that are not finite (with the tensor's name).
    """
    named = {name: x.detach().cpu().float() for name, x in named_samples(graph, samples).items()}
    empty = next((x for x in named.values() if len(x) == 0), None)
    if empty is not None:
        raise InvalidInput("calibration", tuple(empty.shape), "at least one sample")
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
        run_float_named(graph, named, observe, lengths)
    return ranges
