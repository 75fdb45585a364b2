"""Quantization schemes by name, and the one function that applies them."""

from collections.abc import Callable

from torch import Tensor, nn

from sparsemod.graph import Graph, capture, deployed
from sparsemod.quantization.float_network import FloatNetwork
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.network import Quantized
from sparsemod.quantization.static import quantize_static
from sparsemod.registry import Registry

Scheme = Callable[[Graph, Tensor], Quantized]

SCHEMES: Registry[Scheme] = Registry("quantization scheme", "sparsemod.schemes", builtin=(__name__,))
"""Functions (deployed graph, calibration samples (N, *input shape)) -> network."""


@SCHEMES.register("static")
def static(graph: Graph, samples: Tensor) -> IntegerNetwork:
    """int8 weights and activations, ranges measured on `samples`."""
    return quantize_static(graph, samples)


@SCHEMES.register("none")
def none(graph: Graph, samples: Tensor) -> FloatNetwork:
    """Stays float; `samples` are not used."""
    return FloatNetwork(graph)


def quantize(network: nn.Module | Graph, samples: Tensor, scheme: str = "static") -> Quantized:
    """The network as deployed: a module is captured, batch norms are folded, and `scheme` turns the graph
    into its kind of network.

    `network`: a module or a captured (or deployed) graph; `samples`: float (N, *input shape), from the
    training data. Raises UnknownName for the scheme, Unsupported for operators, InvalidInput for values that
    are not finite.
    """
    make = SCHEMES.get(scheme, field="quantization.scheme")
    graph = capture(network, tuple(samples.shape[1:])) if isinstance(network, nn.Module) else network
    return make(deployed(graph), samples)
