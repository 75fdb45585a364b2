"""Convolutions and linear layers."""

import math
from dataclasses import dataclass
from typing import ClassVar

from sparsemod.kinds.windows import Window
from sparsemod.layouts import Shape
from sparsemod.quantization.layers.base import LAYERS, Weighted, check_positive


@LAYERS.register("conv")
@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """Two-dimensional convolution (with one row for a sequence). Outside the input q = z, so padding adds nothing.

    acc[o,r,c] = bias[o] + sum_{i,u,v} weight[o,i,u,v] (q[g(o) + i, r sy + u dy - top, c sx + v dx - left] - z);
    y = clamp(zo + requantize(acc, multiplier[o], shift[o])). `weight` is (O, I / groups, kernel y, kernel x);
    channel o reads the input channels of its group: g(o) = (o // (O / groups)) x (I / groups). `padding` =
    (top, bottom, left, right). Depthwise: groups = I.
    """

    kind: ClassVar[str] = "conv"
    rank: ClassVar[int] = 4
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "stride", self.stride)
        check_positive(self, "dilation", self.dilation)
        if min(self.padding) < 0:
            raise self.reject("padding", self.padding, "not negative")
        if self.groups < 1 or len(self.weight) % self.groups:
            raise self.reject("groups", self.groups, f"a divisor of {len(self.weight)} output channels")

    @property
    def depthwise(self) -> bool:
        """Whether each output channel reads exactly one input channel, the one in its group."""
        return self.groups > 1 and self.weight.shape[1] == 1

    @property
    def window(self) -> Window:
        """See Layer."""
        kernel = (self.weight.shape[2], self.weight.shape[3])
        return Window(kernel, self.stride, self.padding, self.dilation, self.groups)

    def buffer(self, output: Shape) -> int:
        """See Layer: the gathered windows."""
        return 0 if self.depthwise else math.prod(output[1:]) * math.prod(self.weight.shape[1:])

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        channels, *size = self.image(inputs)
        if channels != self.weight.shape[1] * self.groups:
            raise self.reject("inputs", inputs, f"{self.weight.shape[1] * self.groups} channels")
        rows, columns = self.window.counts((size[0], size[1]))
        if rows < 1 or columns < 1:
            raise self.reject("inputs", inputs, f"at least as large as the kernel {self.window.kernel}")
        return self.output_shape((len(self.weight), rows, columns), inputs)


@LAYERS.register("linear")
@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """Matrix times vector.

    acc[o] = bias[o] + sum_i weight[o,i] (q[i] - z); y = clamp(zo + requantize(acc, multiplier[o], shift[o])).
    """

    kind: ClassVar[str] = "linear"
    rank: ClassVar[int] = 2

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if self.one_input(inputs, 1) != self.weight.shape[1:]:
            raise self.reject("inputs", inputs, f"shape {self.weight.shape[1:]}")
        return self.weight.shape[:1]
