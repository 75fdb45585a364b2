"""Dynamic quantization: int8 weights, and inputs of layers quantized when the network runs."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.quantization.base import SCHEMES, Scheme
from sparsemod.quantization.ranges import RANGES
from sparsemod.spec import methods
from sparsemod.spec.methods import QuantizationConfig, Ranges, Storage

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.graph import Graph
    from sparsemod.quantization.calibration import Samples
    from sparsemod.quantization.dynamic_network import DynamicNetwork

DYNAMIC = Storage("float32", 1, 8, 4, "int8 weights with float32 bias and float32 scale per channel", True)


class DynamicConfig(QuantizationConfig):
    """Keys of dynamic; the calibration samples are not used."""

    FORMER = frozenset({"activation_ranges"})
    storage = DYNAMIC
    integer = False


@SCHEMES.register("dynamic")
class Dynamic(Scheme[DynamicConfig]):
    """int8 weights; each layer quantizes its input with the range of the sample; float32 between the layers. Written as C."""

    Config = DynamicConfig

    def quantize(
        self, graph: "Graph", samples: "Samples", lengths: "Tensor | None" = None
    ) -> "DynamicNetwork":
        """See Scheme; the samples are not used."""
        from sparsemod.quantization.dynamic_network import DynamicNetwork

        return DynamicNetwork.of(graph, {})

    def load(self, content: bytes) -> "DynamicNetwork":
        """See Scheme."""
        from sparsemod.quantization.dynamic_network import DynamicNetwork

        return DynamicNetwork.from_bytes(content)


class BothConfig(QuantizationConfig):
    """Keys of both."""

    storage = DYNAMIC
    integer = False
    activation_ranges: Ranges = Field(
        default_factory=lambda: methods.RANGES.config("min_max"),
        description="How the range of a convolution's input follows from the calibration samples.",
    )


@SCHEMES.register("both")
class Both(Scheme[BothConfig]):
    """Convolutions with input ranges measured once; linear and recurrent layers dynamic; float32 between the layers. Written as C."""

    Config = BothConfig

    def quantize(
        self, graph: "Graph", samples: "Samples", lengths: "Tensor | None" = None
    ) -> "DynamicNetwork":
        """See Scheme."""
        from sparsemod.quantization.calibration import calibrate
        from sparsemod.quantization.dynamic_network import DynamicNetwork

        measured = calibrate(graph, samples, RANGES.create(self.config.activation_ranges), lengths)
        ranges = {
            o.name: tuple(measured[o.inputs[0]])
            for o in graph.operators
            if o.traits.window and o.traits.weighted
        }
        return DynamicNetwork.of(graph, ranges)  # type: ignore[arg-type]

    def load(self, content: bytes) -> "DynamicNetwork":
        """See Scheme."""
        from sparsemod.quantization.dynamic_network import DynamicNetwork

        return DynamicNetwork.from_bytes(content)
