"""Products of two matrices, and sums with a constant for each element."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from sparsemod.layouts import Shape
from sparsemod.patterns import Index, Pattern
from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.layers.base import (
    LAYERS,
    Clamped,
    Layer,
    check_requantization,
    check_rescaling,
    rescaling_factors,
)

Sizes = tuple[int, ...]


@LAYERS.register("matmul")
@dataclass(frozen=True, eq=False)
class MatMul(Layer):
    """`products` of a matrix (rows, inner) from the first input and one (columns, inner) from the second, row by row:
    y[r, p columns + c] = clamp(zo + requantize(sum over i of (a[p, r, i] - z1) (b[p, c, i] - z2), multiplier, shift)).

    a[p, r, i] is element first_offset + ... of the first input in the order of arrays: see `sparsemod.patterns`. The patterns have the axes
    products, rows (or columns), inner, or parts of these. `factor` is a constant of the real product, beside the scales.
    """

    kind: ClassVar[str] = "matmul"
    products: int = 1
    rows: int = 1
    columns: int = 1
    inner: int = 1
    first_sizes: Sizes = (1,)
    first_strides: Sizes = (0,)
    first_offset: int = 0
    second_sizes: Sizes = (1,)
    second_strides: Sizes = (0,)
    second_offset: int = 0
    factor: float = 1.0
    multiplier: int = 0
    shift: int = 0

    def __post_init__(self) -> None:
        check_requantization(self, np.int64(self.multiplier), np.int64(self.shift))
        for name in ("products", "rows", "columns", "inner"):
            if getattr(self, name) < 1:
                raise self.reject(name, getattr(self, name), "positive")
        for name, count in (("first", self.rows), ("second", self.columns)):
            pattern = self.pattern(name)
            if (
                len(pattern.sizes) != len(pattern.strides)
                or pattern.elements != self.products * count * self.inner
            ):
                raise self.reject(
                    f"{name}_sizes", pattern.sizes, f"{self.products * count * self.inner} elements"
                )
        if self.inner * 255 * 255 >= 2**31:
            raise self.reject("inner", self.inner, "sums that fit in 32 bits: at most 33025")

    def pattern(self, name: str) -> Pattern:
        """Return the pattern of an input: "first" or "second"."""
        sizes, strides = getattr(self, f"{name}_sizes"), getattr(self, f"{name}_strides")
        return Pattern(tuple(sizes), tuple(strides), getattr(self, f"{name}_offset"))

    def index(self, name: str) -> Index:
        """Return the numbers of an input's elements: (products, rows, inner) of the first, (products, columns, inner) of the second."""
        return self.pattern(name).index().reshape(self.products, -1, self.inner)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        return {"products": self.products, "rows": self.rows, "columns": self.columns, "inner": self.inner}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if len(inputs) != 2:
            raise self.reject("inputs", inputs, "two tensors")
        for name, shape in zip(("first", "second"), inputs, strict=True):
            index = self.index(name)
            if index.min() < 0 or index.max() >= math.prod(shape):
                raise self.reject(name, (int(index.min()), int(index.max())), f"elements of {shape}")
        return self.rows, self.products * self.columns

    def macs(self, output: Shape) -> int:
        """See Layer."""
        return math.prod(output) * self.inner

    def buffer(self, output: Shape) -> int:
        """See Layer."""
        return self.products * (self.rows + self.columns) * self.inner

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """See Layer."""
        return (
            (
                self.multiplier * 2.0 ** (self.shift - 31),
                sources[0] * sources[1] * self.factor / output_scale,
            ),
        )


@LAYERS.register("offset")
@dataclass(frozen=True, eq=False)
class Offset(Clamped):
    """y = clamp(zo + rescale((q - z) multipliers[0] + values multipliers[1])), with a constant of `values` for each element.

    The real constants are values x values_scale.
    """

    kind: ClassVar[str] = "offset"
    values: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))
    values_scale: float = 1.0
    multipliers: tuple[int, ...] = (0, 0)
    shift: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rescaling(self, self.multipliers, self.shift, 2)
        if self.values.dtype != np.int8:
            raise self.reject("values", str(self.values.dtype), "int8")

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        shape = self.one_input(inputs)
        if shape != self.values.shape:
            raise self.reject("values", self.values.shape, f"one for each element of {shape}")
        return shape

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """See Layer."""
        return rescaling_factors(self.multipliers, self.shift, (*sources, self.values_scale), output_scale)
