"""The substitute `CP_s`: depthwise, then a pointwise matrix as a canonical polyadic decomposition."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute
from sparsemod.substitutes.tensors import sizes

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("CP")
class Cp(Substitute):
    """A depthwise convolution, then a pointwise matrix as a sum of s x smallest size products.

    Its author deprecated it for its low ranks; with two dimensions it equals `TensorTrain`.
    """

    name: ClassVar[str] = "CP"
    setting: ClassVar[Setting | None] = Setting(0.0, 64.0)
    dimensions: ClassVar[int | None] = 3

    def tensor(self, shape: ConvShape) -> tuple[tuple[int, ...], int]:
        """Return the sizes and the number of products."""
        size = sizes(shape, self.dims or 3)
        return size, max(1, round(self.number * min(size)))

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + rank x sum of the sizes."""
        size, rank = self.tensor(shape)
        return shape.depthwise + rank * sum(size)

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from sparsemod.substitutes.layers import pointwise_shape, pointwise_variance, separable
        from sparsemod.substitutes.tensor_layers import CpConv

        size, rank = self.tensor(shape)
        variance = pointwise_variance(shape, making)
        return separable(
            shape, str(self), making, CpConv(pointwise_shape(shape), size, rank, variance, making)
        )
