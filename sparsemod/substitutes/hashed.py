"""The substitute `Hashed_s`: a full convolution with shared weights."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("Hashed")
class Hashed(Substitute):
    """A full convolution whose entries share the weights of s x entries buckets; it always has a bias."""

    name: ClassVar[str] = "Hashed"
    setting: ClassVar[Setting | None] = Setting(0.0, 1.0)
    adds_bias: ClassVar[bool] = True

    def weights(self, shape: ConvShape) -> int:
        """Return int(taps x inputs x outputs x s), at least 1."""
        return max(1, int(shape.taps * shape.inputs * shape.outputs * self.number))

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layer."""
        from sparsemod.substitutes.layers import HashedConv, Substituted

        layer = HashedConv(shape, self.weights(shape), making.variance, making)
        return Substituted(shape, str(self), {"hashed": layer})
