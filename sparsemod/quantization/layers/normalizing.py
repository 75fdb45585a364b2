"""Layers that divide each vector of channels by a number computed from it."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sparsemod.layouts import Shape
from sparsemod.quantization.arithmetic import Int32
from sparsemod.quantization.layers.base import LAYERS, Layer

SOFTMAX_SCALE, SOFTMAX_ZERO = 1 / 256, -128
LENGTH_SCALE, LENGTH_ZERO = 1 / 128, 0
MOST = 1 << 16  # elements of one vector: more could overflow the sum of squares


@dataclass(frozen=True, eq=False)
class Vectors(Layer):
    """Base of layers on vectors along `axis`, the axis of the channels."""

    axis: int = 0

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        shape = self.one_input(inputs)
        if not 0 <= self.axis < len(shape) or shape[self.axis] > MOST:
            raise self.reject("axis", self.axis, f"an axis of at most {MOST} elements")
        return shape


def power_bits(size: int) -> int:
    """Return the bits of the largest power of a softmax over `size` elements, so that sums and quotients fit in 32 bits."""
    return min(23, 31 - max(1, (size - 1).bit_length()))


@LAYERS.register("softmax")
@dataclass(frozen=True, eq=False)
class Softmax(Vectors):
    """With e[i] = powers[max(q) - q[i]]: y[i] = min(127, -128 + floor((256 e[i] + floor(sum(e) / 2)) / sum(e))).

    `powers[d]` is 2^bits exp(-d x scale of the input), rounded. The output's scale is 1/256 and its zero point -128.
    """

    kind: ClassVar[str] = "softmax"
    powers: Int32 = field(default_factory=lambda: np.zeros(256, np.int32))

    def __post_init__(self) -> None:
        wrong = self.powers.dtype != np.int32 or self.powers.shape != (256,)
        if wrong or not 0 <= self.powers.min() <= self.powers.max() == self.powers[0] <= 1 << 23:
            raise self.reject(
                "powers", str(self.powers), "256 int32 numbers, the first one the largest, up to 2^23"
            )

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        shape = super().shape(inputs)
        if int(self.powers[0]) > 1 << power_bits(shape[self.axis]) or self.powers[0] == 0:
            raise self.reject("powers", int(self.powers[0]), f"1 to 2^{power_bits(shape[self.axis])}")
        return shape


@LAYERS.register("l2_normalize")
@dataclass(frozen=True, eq=False)
class L2Normalize(Vectors):
    """With d = q - z and s = sum(d^2): s and f = 128 grow to 4 s and 2 f while s < 2^30 and f < 2^15; then length = floor(sqrt(s)) and
    y = clamp(sign(d) floor((|d| f + floor(length / 2)) / length)), 0 for a length of 0.

    The output's scale is 1/128 and its zero point 0.
    """

    kind: ClassVar[str] = "l2_normalize"
