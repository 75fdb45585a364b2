"""Functions of one value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sparsemod.layouts import Shape
from sparsemod.quantization.arithmetic import RESCALE_BITS, Int8, Int32
from sparsemod.quantization.layers.base import LAYERS, Layer


@LAYERS.register("table")
@dataclass(frozen=True, eq=False)
class Table(Layer):
    """y = table[q + 128]; `function` is its name, for titles."""

    kind: ClassVar[str] = "table"
    table: Int8 = field(default_factory=lambda: np.zeros(256, np.int8))
    function: str = ""

    def __post_init__(self) -> None:
        if self.table.dtype != np.int8 or self.table.shape != (256,):
            raise self.reject("table", (str(self.table.dtype), self.table.shape), "int8 of shape (256,)")

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        return self.one_input(inputs)


@LAYERS.register("prelu")
@dataclass(frozen=True, eq=False)
class Prelu(Layer):
    """With d = q - z: y = clamp(zo + (d m + 2^(shift - 1)) >> shift), where m = positive for d >= 0, else slopes[channel]."""

    kind: ClassVar[str] = "prelu"
    slopes: Int32 = field(default_factory=lambda: np.zeros(1, np.int32))
    positive: int = 0
    shift: int = 1

    def __post_init__(self) -> None:
        limit = 1 << RESCALE_BITS
        if self.slopes.dtype != np.int32 or self.slopes.ndim != 1 or np.abs(self.slopes).max() > limit:
            raise self.reject("slopes", str(self.slopes), f"int32 of one axis, -{limit} to {limit}")
        if not 0 <= self.positive <= limit or not 1 <= self.shift <= 30:
            raise self.reject("positive, shift", (self.positive, self.shift), f"0 to {limit}; 1 to 30")

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if self.one_input(inputs)[0] != len(self.slopes):
            raise self.reject("inputs", inputs, f"{len(self.slopes)} channels")
        return inputs[0]

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """See Layer."""
        return ((self.positive / 2.0**self.shift, sources[0] / output_scale),)
