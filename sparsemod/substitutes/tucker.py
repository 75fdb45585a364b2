"""The substitute `Tucker_s`: depthwise, then a pointwise matrix as a Tucker decomposition."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute
from sparsemod.substitutes.tensors import full_ranks, sizes, train_weights, tucker_ranks

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("Tucker")
class Tucker(Substitute):
    """A depthwise convolution, then a pointwise matrix with Tucker ranks s x sizes; the core is a full tensor train.

    Source: Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile applications", 2016.
    """

    name: ClassVar[str] = "Tucker"
    setting: ClassVar[Setting | None] = Setting(0.0, 1.0)
    dimensions: ClassVar[int | None] = 3

    def tensor(self, shape: ConvShape) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return sizes, Tucker ranks, and the ranks of the core's train."""
        size = sizes(shape, self.dims or 3)
        core = tucker_ranks(size, self.number)
        return size, core, full_ranks(size, core)

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + the entries of factors and core."""
        size, core, ranks = self.tensor(shape)
        factors = sum(d * t for d, t in zip(size, core, strict=True))
        return shape.depthwise + factors + train_weights(core, ranks)

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from sparsemod.substitutes.layers import pointwise_shape, pointwise_variance, separable
        from sparsemod.substitutes.tensor_layers import TuckerConv

        size, core, ranks = self.tensor(shape)
        variance = pointwise_variance(shape, making)
        layer = TuckerConv(pointwise_shape(shape), size, core, ranks, variance, making)
        return separable(shape, str(self), making, layer)
