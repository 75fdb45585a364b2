"""The substitute `Generic_s`: depthwise, then two pointwise convolutions with few channels between them."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("Generic")
class Generic(Substitute):
    """A depthwise convolution, then a linear bottleneck of s x max(inputs, outputs) channels."""

    name: ClassVar[str] = "Generic"
    setting: ClassVar[Setting | None] = Setting(0.0, 2.0)

    def rank(self, shape: ConvShape) -> int:
        """Return the bottleneck's channels: int(s x max(inputs, outputs)), at least 1."""
        return max(1, int(self.number * max(shape.inputs, shape.outputs)))

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + rank x (inputs + outputs)."""
        return shape.depthwise + self.rank(shape) * (shape.inputs + shape.outputs)

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from torch import nn

        from sparsemod.substitutes.layers import conv, pointwise_shape, pointwise_variance, separable

        rank, variance, inner = self.rank(shape), pointwise_variance(shape, making), pointwise_shape(shape)
        contract = conv(inner, making, variance, inputs=shape.inputs, outputs=rank)
        expand = conv(
            inner, making, 1.0 / rank, inputs=rank, outputs=shape.outputs, moves=False, bias=shape.bias
        )
        return separable(shape, str(self), making, nn.Sequential(contract, expand))
