"""The substitute `Conv`: the full convolution itself."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("Conv")
class Conv(Substitute):
    """A full convolution: the baseline. In place of a separable pair it adds weights."""

    name: ClassVar[str] = "Conv"
    compressed: ClassVar[tuple[str, ...] | None] = ()

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs x outputs."""
        return shape.taps * shape.inputs * shape.outputs

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layer."""
        from sparsemod.substitutes.layers import Substituted, conv

        layer = conv(
            shape, making, making.variance, inputs=shape.inputs, outputs=shape.outputs, bias=shape.bias
        )
        return Substituted(shape, str(self), {"conv": layer})
