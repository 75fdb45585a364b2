"""Quantization schemes by name, and the one function that applies them."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, capture, deployed
from sparsemod.quantization.calibration import RANGES
from sparsemod.quantization.float_network import FloatNetwork
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.network import Quantized
from sparsemod.quantization.static import quantize_static
from sparsemod.registry import Registry
from sparsemod.stage_errors import stage_errors, type_name

Scheme = Callable[[Graph, Tensor, str], Quantized]

SCHEMES: Registry[Scheme] = Registry("quantization scheme", "sparsemod.schemes", builtin=(__name__,))
"""Functions (deployed graph, calibration samples (N, *input shape), rule of activation ranges) -> network."""


@SCHEMES.register("static")
def static(graph: Graph, samples: Tensor, activation_ranges: str) -> IntegerNetwork:
    """int8 weights and activations; `activation_ranges` names the rule that finds their ranges on `samples`."""
    return quantize_static(graph, samples, activation_ranges)


@SCHEMES.register("none")
def none(graph: Graph, samples: Tensor, activation_ranges: str) -> FloatNetwork:
    """Stays float; `samples` and `activation_ranges` are not used."""
    return FloatNetwork(graph)


def quantize(
    network: nn.Module | Graph,
    samples: Tensor,
    scheme: str = "static",
    activation_ranges: str = "min_max",
) -> Quantized:
    """The network as deployed: a module is captured, batch norms are folded, and `scheme` turns the graph
    into its kind of network.

    `network`: a module or a captured (or deployed) graph; `samples`: float (N, *input shape), from the
    training data; `activation_ranges`: a rule of `sparsemod.quantization.calibration`. Raises UnknownName for
    the scheme or the rule, Unsupported for operators, InvalidInput for a network or samples of another type and
    for values that are not finite, BuildError for a network that does not run.
    """
    make = SCHEMES.get(scheme, field="quantization.scheme")
    RANGES.get(activation_ranges, field="quantization.activation_ranges")
    _check_samples(samples)
    graph = network if isinstance(network, Graph) else capture(network, tuple(samples.shape[1:]))
    with stage_errors("quantization"):
        return make(deployed(graph), samples, activation_ranges)


def _check_samples(samples: object) -> None:
    if isinstance(samples, np.ndarray):
        raise InvalidInput("samples", "a numpy array", "a torch tensor; torch.from_numpy makes one")
    if not isinstance(samples, Tensor):
        allowed = "a float torch tensor (N, *input shape); of a DataLoader, the samples of one batch"
        raise InvalidInput("samples", type_name(samples), allowed)
    if samples.ndim < 2:
        raise InvalidInput("samples", tuple(samples.shape), "shape (N, *input shape)")
    if not samples.is_floating_point() or samples.is_sparse:
        raise InvalidInput("samples", str(samples.dtype), "dense floats, normalized as in training")
