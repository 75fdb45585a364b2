"""Layers that divide channels by a number computed from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from sparsemod.layouts import Shape
from sparsemod.quantization.arithmetic import Float32, Int32
from sparsemod.quantization.layers.base import LAYERS, Clamped, Layer

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


LOG_SCALE, LOG_ZERO = 1 / 16, 127
STEPS = 1 << 12  # parts of a step of log-softmax's output


@LAYERS.register("log_softmax")
@dataclass(frozen=True, eq=False)
class LogSoftmax(Vectors):
    """With e[i] = powers[max(q) - q[i]] and s = sum(e) = m 2^(31 - b), 1 <= m < 2:
    L = offset - b step + logarithms[floor((s 2^b - 2^31 + 2^22) / 2^23)] and
    y[i] = max(-128, 127 - ((multiplier (max(q) - q[i]) + L + 2^11) >> 12)).

    `powers` are those of softmax. The other fields count 4096ths of the output's steps: `logarithms` of 1 + i / 256, `step` is that of
    2, `offset` that of 2^31 / powers[0]; `multiplier` is the input's scale, at most 2^22. The output's scale is 1/16 and its zero
    point 127.
    """

    kind: ClassVar[str] = "log_softmax"
    powers: Int32 = field(default_factory=lambda: np.zeros(256, np.int32))
    logarithms: Int32 = field(default_factory=lambda: np.zeros(257, np.int32))
    step: int = 0
    offset: int = 0
    multiplier: int = 0

    def __post_init__(self) -> None:
        for name, size in (("powers", 256), ("logarithms", 257)):
            array = getattr(self, name)
            if array.dtype != np.int32 or array.shape != (size,):
                raise self.reject(name, (str(array.dtype), array.shape), f"{size} int32 numbers")
        if not 0 <= self.powers.min() <= self.powers.max() == self.powers[0] <= 1 << 23:
            raise self.reject("powers", str(self.powers), "the first one the largest, up to 2^23")
        if not 0 <= self.multiplier <= 1 << 22:
            raise self.reject("multiplier", self.multiplier, "0 to 2^22")
        if not (0 <= self.logarithms.min() <= self.logarithms.max() < 1 << 20 and 0 <= self.step < 1 << 20):
            raise self.reject("logarithms, step", (str(self.logarithms), self.step), "0 to 2^20")
        if not 0 <= self.offset < 1 << 25:
            raise self.reject("offset", self.offset, "0 to 2^25")

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        shape = super().shape(inputs)
        if int(self.powers[0]) > 1 << power_bits(shape[self.axis]) or self.powers[0] == 0:
            raise self.reject("powers", int(self.powers[0]), f"1 to 2^{power_bits(shape[self.axis])}")
        return shape


@LAYERS.register("group_norm")
@dataclass(frozen=True, eq=False)
class GroupNorm(Clamped):
    """The channels, along `axis`, are `groups` groups; `whole`: a group spans all positions, else each position has groups of its own.

    For the n elements q of a group: s = sum(q), v = n sum(q^2) - s^2 + epsilon, which is exact. v = w 4^-k with 2^30 <= w < 2^32 (bits
    shifted out are dropped), i = floor(2^31 / floor(sqrt(w))), and for each element
    z = ((n q - s) i + 2^(18 - k)) >> (19 - k), the normalized value in 4096ths, and
    y = clamp(zo + ((((z multiplier[c]) >> shift) + offset[c] + 128) >> 8)).

    `epsilon` is n^2 epsilon / (scale of the input)^2, at least 1; multiplier[c] / 2^shift = 256 / 4096 weight[c] / (scale of the output),
    offset[c] = 256 bias[c] / (scale of the output). Of a value that is not clamped, the error against real numbers is below 0.5 + 0.01
    steps for the rounding, plus |y - zo| / 2^14 for the square root.
    """

    kind: ClassVar[str] = "group_norm"
    axis: int = 0
    groups: int = 1
    whole: bool = False
    epsilon: int = 1
    multiplier: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    offset: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    shift: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.epsilon <= 1 << 60:
            raise self.reject("epsilon", self.epsilon, "1 to 2^60")
        if not 0 <= self.shift <= 40:
            raise self.reject("shift", self.shift, "0 to 40")
        for name in ("multiplier", "offset"):
            array = getattr(self, name)
            if array.dtype != np.int32 or array.shape != self.multiplier.shape or array.ndim != 1:
                raise self.reject(name, (str(array.dtype), array.shape), "an int32 number for each channel")
            if np.abs(array.astype(np.int64)).max() > 1 << 30:
                raise self.reject(name, int(np.abs(array.astype(np.int64)).max()), "at most 2^30")

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        return {"groups": self.groups, "whole": self.whole}

    def real_epsilon(self, shape: Shape, scale: float) -> float:
        """Return the real epsilon, for an input of this shape and scale."""
        return self.epsilon * (scale / elements(shape, self.axis, self.groups, self.whole)) ** 2

    def real_affine(self, scale: float) -> tuple[Float32, Float32]:
        """Return real weights and biases of the channels, for an output of this scale."""
        weight = self.multiplier * (2.0 ** (4 - self.shift) * scale)
        return weight.astype(np.float32), (self.offset * (scale / 256)).astype(np.float32)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        shape = self.one_input(inputs)
        if not 0 <= self.axis < len(shape) or len(self.multiplier) != shape[self.axis]:
            raise self.reject("axis", self.axis, f"the axis of {len(self.multiplier)} channels")
        if self.groups < 1 or shape[self.axis] % self.groups:
            raise self.reject("groups", self.groups, f"a divisor of {shape[self.axis]} channels")
        count = elements(shape, self.axis, self.groups, self.whole)
        if count > MOST:
            raise self.reject("inputs", inputs, f"groups of at most {MOST} elements, not {count}")
        reach = (
            math.sqrt(count)
            * 4097
            * float(np.abs(self.multiplier.astype(np.float64)).max())
            / 2.0**self.shift
        )
        if reach >= 2**30:
            raise self.reject("multiplier", reach, "results below 2^30")
        return shape


def elements(shape: Shape, axis: int, groups: int, whole: bool) -> int:
    """Return the number of elements of a group."""
    return shape[axis] // groups * (math.prod(shape) // shape[axis] if whole else 1)
