"""The substitute `HashedDecimate`: a tenth of a full convolution's weights, hashed."""

from typing import ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Setting
from sparsemod.substitutes.hashed import Hashed


@SUBSTITUTES.register("HashedDecimate")
class HashedDecimate(Hashed):
    """`Hashed` with a tenth of the weights."""

    name: ClassVar[str] = "HashedDecimate"
    setting: ClassVar[Setting | None] = None

    def weights(self, shape: ConvShape) -> int:
        """Return taps x inputs x outputs // 10, at least 1."""
        return max(1, shape.taps * shape.inputs * shape.outputs // 10)
