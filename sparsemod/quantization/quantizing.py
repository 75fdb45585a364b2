"""The one function that applies a quantization scheme."""

from torch import Tensor, nn

from sparsemod.graph import Graph, capture, deployed
from sparsemod.quantization.base import SCHEMES
from sparsemod.quantization.network import Quantized
from sparsemod.spec.methods import QuantizationConfig


def quantize(
    network: nn.Module | Graph, samples: Tensor, scheme: QuantizationConfig | str = "static"
) -> Quantized:
    """The network as deployed: a module is captured, batch norms are folded, and `scheme` turns the graph
    into its kind of network.

    `network`: a module or a captured (or deployed) graph; `samples`: float (N, *input shape), from the
    training data; `scheme`: a config, or the name of one with its defaults. Raises UnknownName for the scheme,
    Unsupported for operators, InvalidInput for values that are not finite.
    """
    made = SCHEMES.create(SCHEMES.config(scheme) if isinstance(scheme, str) else scheme)
    graph = capture(network, tuple(samples.shape[1:])) if isinstance(network, nn.Module) else network
    return made.quantize(deployed(graph), samples)
