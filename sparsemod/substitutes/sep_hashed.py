"""The substitute `SepHashed_s`: depthwise, then a pointwise convolution with shared weights."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("SepHashed")
class SepHashed(Substitute):
    """A depthwise convolution, then a pointwise one whose entries share s x entries weights; it always has a bias."""

    name: ClassVar[str] = "SepHashed"
    setting: ClassVar[Setting | None] = Setting(0.0, 1.0)
    adds_bias: ClassVar[bool] = True
    scales_decay: ClassVar[bool] = False

    def buckets(self, shape: ConvShape) -> int:
        """Return int(inputs x outputs x s), at least 1. Raises BuildError."""
        return max(1, int(shape.inputs * shape.outputs * self.number))

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + buckets. Raises BuildError."""
        return shape.depthwise + self.buckets(shape)

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers. Raises BuildError."""
        from sparsemod.substitutes.layers import HashedConv, pointwise_shape, pointwise_variance, separable

        variance = pointwise_variance(shape, making)
        pointwise = HashedConv(pointwise_shape(shape), self.buckets(shape), variance, making)
        return separable(shape, str(self), making, pointwise)
