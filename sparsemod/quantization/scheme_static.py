"""Static quantization: int8 weights, and int8 activations with ranges measured once."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.quantization.base import SCHEMES, Scheme
from sparsemod.quantization.ranges import RANGES
from sparsemod.spec import methods
from sparsemod.spec.methods import QuantizationConfig, Ranges

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.graph import Graph
    from sparsemod.quantization.calibration import Samples
    from sparsemod.quantization.integer_network import IntegerNetwork


class StaticConfig(QuantizationConfig):
    """Keys of static."""

    activation_ranges: Ranges = Field(
        default_factory=lambda: methods.RANGES.config("min_max"),
        description="How an activation's range follows from the calibration samples.",
    )


@SCHEMES.register("static")
class Static(Scheme[StaticConfig]):
    """int8 weights per output channel, int8 activations per tensor with ranges measured on training samples."""

    Config = StaticConfig

    def quantize(
        self, graph: "Graph", samples: "Samples", lengths: "Tensor | None" = None
    ) -> "IntegerNetwork":
        """See Scheme."""
        from sparsemod.quantization.static import quantize_static

        return quantize_static(graph, samples, RANGES.create(self.config.activation_ranges), lengths)
