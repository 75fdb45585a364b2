"""The interface of quantization schemes."""

from typing import TYPE_CHECKING, Any, TypeVar

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import QuantizationConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.graph import Graph
    from sparsemod.quantization.calibration import Samples
    from sparsemod.quantization.network import Quantized

C = TypeVar("C", bound=QuantizationConfig)


class Scheme(Plugin[C]):
    """Turns a trained network into the network to deploy.

    The class of its config states how the result is stored (`storage`), and whether it is an IntegerNetwork (`integer`). Sizes are
    predicted from both before training.
    """

    def quantize(self, graph: "Graph", samples: "Samples", lengths: "Tensor | None" = None) -> "Quantized":
        """Quantize a deployed graph (batch norms folded), calibrated on float samples of the training data.

        `samples`: a tensor (N, *input shape), or one for each of several inputs, by name. `lengths` (N,): the valid steps of the samples, for a graph that uses them; None when every step is valid.

        Raises Unsupported for an operator without a rule, InvalidInput for values that are not finite.
        """
        raise NotImplementedError

    def load(self, content: bytes) -> "Quantized":
        """Return the network whose `to_bytes` returned `content`. Raises InvalidInput for other content."""
        from sparsemod.quantization.integer_network import IntegerNetwork

        return IntegerNetwork.from_bytes(content)


SCHEMES: Plugins[Scheme[Any], QuantizationConfig] = methods.SCHEMES
