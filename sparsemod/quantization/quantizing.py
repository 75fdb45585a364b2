"""`quantize`: apply a quantization scheme to a network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, capture, deployed, without_ending
from sparsemod.quantization.base import SCHEMES
from sparsemod.quantization.calibration import Samples
from sparsemod.quantization.network import Quantized
from sparsemod.spec.methods import QuantizationConfig
from sparsemod.stage_errors import stage_errors, type_name


def quantize(
    network: nn.Module | Graph,
    samples: Samples,
    scheme: QuantizationConfig | str = "static",
    layout: str | Mapping[str, str] | None = None,
    *,
    largest_only: bool = False,
    lengths: Tensor | None = None,
) -> Quantized:
    """Return the deployed network: capture a module, fold batch norms, and quantize the graph with `scheme`.

    `network`: a module or a captured (or deployed) graph. `samples`: float (N, *input shape), from the training data; for several
    inputs a tensor for each, in the order of `forward`'s arguments or by name. For a module, `layout` names the axes of the samples
    (see `sparsemod.layouts`). `scheme`: a config, or a name for its default config. `lengths` (N,): the valid steps of the samples, for
    a network that uses them. `largest_only`: only which output is the largest counts, so that a softmax or sigmoid at the end is left
    out.

    Raises UnknownName for the scheme, Unsupported for operators, InvalidInput for a network or samples of another type and for
    values that are not finite, and BuildError for a network that does not run.
    """
    handler = SCHEMES.create(SCHEMES.config(scheme) if isinstance(scheme, str) else scheme)
    _check_samples(samples)
    graph = network if isinstance(network, Graph) else capture(network, _shapes(samples), layout)
    if largest_only:
        graph, _ = without_ending(graph)
    with stage_errors("quantization"):
        ready = deployed(graph)
        # A scheme of another package may not know lengths.
        return (
            handler.quantize(ready, samples, lengths)
            if ready.uses_lengths
            else handler.quantize(ready, samples)
        )


def _shapes(samples: Samples) -> Any:
    """Return the shapes of the samples of each input, in the form of `samples`."""
    if isinstance(samples, Tensor):
        return tuple(samples.shape[1:])
    if isinstance(samples, Mapping):
        return {name: tuple(x.shape[1:]) for name, x in samples.items()}
    return [tuple(x.shape[1:]) for x in samples]


def _check_samples(samples: object) -> None:
    if isinstance(samples, Mapping | tuple | list) and samples:
        for part in samples.values() if isinstance(samples, Mapping) else samples:
            _check_samples(part)
        return
    if isinstance(samples, np.ndarray):
        raise InvalidInput("samples", "a numpy array", "a torch tensor; torch.from_numpy creates one")
    if not isinstance(samples, Tensor):
        allowed = "a float torch tensor (N, *input shape); of a DataLoader, the samples of one batch"
        raise InvalidInput("samples", type_name(samples), allowed)
    if samples.ndim < 2:
        raise InvalidInput("samples", tuple(samples.shape), "shape (N, *input shape)")
    if not samples.is_floating_point() or samples.is_sparse:
        raise InvalidInput("samples", str(samples.dtype), "dense floats, normalized as in training")
