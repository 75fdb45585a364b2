"""The substitute `ACDC_n`: depthwise, then a product of diagonal matrices and cosine transforms."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("ACDC")
class Acdc(Substitute):
    """A depthwise convolution, then n - 1 layers of diagonal, DCT, diagonal, inverse DCT on max(inputs, outputs) channels.

    A riffle shuffle lies within each layer and between the layers. Source: Moczulski et al., "ACDC: a structured
    efficient linear layer", 2016.
    """

    name: ClassVar[str] = "ACDC"
    setting: ClassVar[Setting | None] = Setting(2, 1024, whole=True, default=12)

    @property
    def layers(self) -> int:
        """Number of layers; the published counts of n layers have n - 1."""
        return int(self.number) - 1

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + (n - 1) x 2 x max(inputs, outputs)."""
        return shape.depthwise + self.layers * 2 * max(shape.inputs, shape.outputs)

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from sparsemod.substitutes.acdc_layer import AcdcConv
        from sparsemod.substitutes.layers import pointwise_shape, pointwise_variance, separable

        variance = pointwise_variance(shape, making)
        return separable(
            shape, str(self), making, AcdcConv(pointwise_shape(shape), self.layers, variance, making)
        )
