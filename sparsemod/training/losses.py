"""Losses. One class each."""

from typing import TYPE_CHECKING, Any, TypeVar

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import LossConfig

if TYPE_CHECKING:
    from torch import Tensor

C = TypeVar("C", bound=LossConfig)


class Loss(Plugin[C]):
    """A loss that training minimizes."""

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """Return the mean loss of a batch, a scalar with its gradient.

        `outputs` (N, classes), `targets` (N,) int64. `smoothing`: label smoothing, 0 unless the config's
        `smooths` is true.
        """
        raise NotImplementedError


LOSSES: Plugins[Loss[Any], LossConfig] = methods.LOSSES


class CrossEntropyConfig(LossConfig):
    """Keys of cross_entropy: none."""

    smooths = True


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss[CrossEntropyConfig]):
    """Cross entropy of the softmax of the outputs, with label smoothing."""

    Config = CrossEntropyConfig

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """See Loss."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
