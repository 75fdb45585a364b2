"""The substitute `Sep`: depthwise and pointwise."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("Sep")
class Sep(Substitute):
    """A depthwise convolution and a full pointwise one, nothing between them."""

    name: ClassVar[str] = "Sep"
    compressed: ClassVar[tuple[str, ...] | None] = ()

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + inputs x outputs."""
        return shape.depthwise + shape.inputs * shape.outputs

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from sparsemod.substitutes.layers import conv, pointwise_shape, pointwise_variance, separable

        variance = pointwise_variance(shape, making)
        pointwise = conv(
            pointwise_shape(shape),
            making,
            variance,
            inputs=shape.inputs,
            outputs=shape.outputs,
            bias=shape.bias,
        )
        return separable(shape, str(self), making, pointwise)
