"""The substitute `TensorTrain_s`: depthwise, then a pointwise matrix in tensor-train format."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute
from sparsemod.substitutes.tensors import sizes, train_ranks, train_weights

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("TensorTrain")
class TensorTrain(Substitute):
    """A depthwise convolution, then a pointwise matrix as a tensor train with ranks s x min(neighbouring sizes).

    Source: Novikov et al., "Tensorizing neural networks", 2015.
    """

    name: ClassVar[str] = "TensorTrain"
    setting: ClassVar[Setting | None] = Setting(0.0, 8.0)
    dimensions: ClassVar[int | None] = 3

    def tensor(self, shape: ConvShape) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return sizes and ranks of the tensor."""
        size = sizes(shape, self.dims or 3)
        return size, train_ranks(size, self.number)

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + the entries of the cores."""
        return shape.depthwise + train_weights(*self.tensor(shape))

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from sparsemod.substitutes.layers import pointwise_shape, pointwise_variance, separable
        from sparsemod.substitutes.tensor_layers import TrainConv

        size, ranks = self.tensor(shape)
        variance = pointwise_variance(shape, making)
        return separable(
            shape, str(self), making, TrainConv(pointwise_shape(shape), size, ranks, variance, making)
        )
