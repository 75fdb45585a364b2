"""Pooling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsemod.kinds.windows import Window
from sparsemod.layouts import Shape
from sparsemod.quantization.layers.base import LAYERS, Layer, check_positive, check_requantization


@dataclass(frozen=True, eq=False)
class Pool(Layer):
    """Base of pooling over windows of `kernel` positions. Pairs are (rows, columns); `padding` = (top, bottom, left, right)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False

    def __post_init__(self) -> None:
        for field in ("kernel", "stride", "dilation"):
            check_positive(self, field, getattr(self, field))
        halves = (self.kernel[0] // 2,) * 2 + (self.kernel[1] // 2,) * 2
        if min(self.padding) < 0 or any(p > half for p, half in zip(self.padding, halves, strict=True)):
            raise self.reject("padding", self.padding, "at least 0 and at most half of the window")

    @property
    def window(self) -> Window:
        """See Layer."""
        return Window(self.kernel, self.stride, self.padding, self.dilation, ceil=self.ceil)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer. With `ceil`, a last window that would begin beyond the input and its leading padding is omitted."""
        channels, *sizes = self.image(inputs)
        size = (sizes[0], sizes[1])
        if min(self.window.room(size, axis) for axis in (0, 1)) < 0:
            raise self.reject("inputs", inputs, f"at least as large as the window {self.kernel}")
        return self.output_shape((channels, *self.window.counts(size)), inputs)


@LAYERS.register("max_pool")
@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """y = max of the window's values inside the input; padding is ignored. Scale and zero point are the input's."""

    kind: ClassVar[str] = "max_pool"


@LAYERS.register("avg_pool")
@dataclass(frozen=True, eq=False)
class AvgPool(Pool):
    """acc = sum of the window's raw q inside the input + z x (counted padding); y = acc / count, rounded to
    nearest, halves away from zero.

    In C: acc > 0 ? (acc + count / 2) / count : (acc - count / 2) / count. `count` is the number of positions
    inside the input, or with `count_padding` also those in the stated padding (never those that `ceil` adds
    beyond it). Scale and zero point are the input's.
    """

    kind: ClassVar[str] = "avg_pool"
    count_padding: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dilation != (1, 1):
            raise self.reject("dilation", self.dilation, "(1, 1)")


@LAYERS.register("global_avg_pool")
@dataclass(frozen=True, eq=False)
class GlobalAvgPool(Layer):
    """acc = sum over all positions of (q - z); y = clamp(zo + requantize(acc, multiplier, shift)), the
    multiplier holding 1 / (H W).

    With `keep` the output is (C, 1, 1), or (C, 1) for a sequence; else (C,).
    """

    kind: ClassVar[str] = "global_avg_pool"
    multiplier: int = 0
    shift: int = 0
    keep: bool = True

    def __post_init__(self) -> None:
        check_requantization(self, np.array([self.multiplier]), np.array([self.shift]))

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        channels, height, width = self.image(inputs)
        if height * width * 255 >= 2**31:
            raise self.reject("inputs", inputs, "fewer than 2^23 positions")
        return self.output_shape((channels, 1, 1), inputs) if self.keep else (channels,)

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """See Layer."""
        positions = math.prod(self.image((shape,))[1:])
        return ((self.multiplier * 2.0 ** (self.shift - 31), sources[0] / output_scale / positions),)
