"""The substitute `SepHashedDecimate`: `SepHashed` with a tenth of a full convolution's weights."""

from typing import ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Setting
from sparsemod.substitutes.sep_hashed import SepHashed


@SUBSTITUTES.register("SepHashedDecimate")
class SepHashedDecimate(SepHashed):
    """`SepHashed` whose weights together are a tenth of those of the full convolution."""

    name: ClassVar[str] = "SepHashedDecimate"
    setting: ClassVar[Setting | None] = None

    def buckets(self, shape: ConvShape) -> int:
        """Return taps x inputs x outputs // 10 less the depthwise weights. Raises BuildError when nothing is left."""
        total = shape.taps * shape.inputs * shape.outputs // 10
        left = total - shape.depthwise
        if left < 1:
            raise self.refused(
                shape, f"a tenth of its weights is {total}, the depthwise convolution has {shape.depthwise}"
            )
        return min(left, shape.inputs * shape.outputs)
