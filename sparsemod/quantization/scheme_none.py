"""No quantization: the network stays float and costs 4 bytes a weight."""

from typing import TYPE_CHECKING

from sparsemod.quantization.base import SCHEMES, Scheme
from sparsemod.spec.methods import FLOAT32, QuantizationConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.graph import Graph
    from sparsemod.quantization.calibration import Samples
    from sparsemod.quantization.float_network import FloatNetwork


class FloatConfig(QuantizationConfig):
    """Keys of none; the calibration samples are not used."""

    FORMER = frozenset({"activation_ranges"})
    storage = FLOAT32
    integer = False
    exported = False


@SCHEMES.register("none")
class Float(Scheme[FloatConfig]):
    """The network stays float (4 bytes a weight)."""

    Config = FloatConfig

    def quantize(self, graph: "Graph", samples: "Samples", lengths: "Tensor | None" = None) -> "FloatNetwork":
        """See Scheme; the samples are not used."""
        from sparsemod.quantization.float_network import FloatNetwork

        return FloatNetwork(graph)

    def load(self, content: bytes) -> "FloatNetwork":
        """See Scheme."""
        from sparsemod.quantization.float_network import FloatNetwork

        return FloatNetwork.from_bytes(content)
