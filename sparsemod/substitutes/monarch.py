"""The substitute `Monarch_g`: depthwise, then two grouped pointwise convolutions with a shuffle between them."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("Monarch")
class Monarch(Substitute):
    """A depthwise convolution, then a Monarch matrix: two block-diagonal matrices of g blocks with a permutation between them.

    The number of blocks is lowered until it divides inputs and outputs. Source: Dao et al., "Monarch: expressive
    structured matrices for efficient and accurate training", 2022.
    """

    name: ClassVar[str] = "Monarch"
    setting: ClassVar[Setting | None] = Setting(1, 1024, whole=True, grows=False)

    def blocks(self, shape: ConvShape) -> int:
        """Return the number of blocks."""
        blocks = int(self.number)
        while shape.inputs % blocks or shape.outputs % blocks:
            blocks -= 1
        return blocks

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs + outputs x inputs / g + outputs x outputs / g."""
        return shape.depthwise + shape.outputs * (shape.inputs + shape.outputs) // self.blocks(shape)

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from torch import nn

        from sparsemod.substitutes.layers import (
            ChannelShuffle,
            conv,
            pointwise_shape,
            pointwise_variance,
            separable,
        )

        blocks, inner = self.blocks(shape), pointwise_shape(shape)
        variance = pointwise_variance(shape, making) * blocks
        first = conv(inner, making, variance, inputs=shape.inputs, outputs=shape.outputs, groups=blocks)
        second = conv(
            inner, making, blocks / shape.outputs, inputs=shape.outputs, outputs=shape.outputs, groups=blocks,
            moves=False, bias=shape.bias,
        )  # fmt: skip
        pointwise = nn.Sequential(first, ChannelShuffle(blocks), second)
        return separable(shape, str(self), making, pointwise)
