"""Layers that copy values to other places, or compute values between positions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sparsemod.layouts import Shape
from sparsemod.patterns import AXES, OUTSIDE, Pattern
from sparsemod.quantization.layers.base import LAYERS, Layer

PARTS = 1024
Places = tuple[int, ...]


@LAYERS.register("move")
@dataclass(frozen=True, eq=False)
class Move(Layer):
    """Element (i, j, ...) of `sizes` is element offset + i strides[0] + j strides[1] + ... of the input; both in the arrays' order.

    Scale and zero point are the input's.
    """

    kind: ClassVar[str] = "move"
    sizes: tuple[int, ...] = (1,)
    strides: tuple[int, ...] = (0,)
    offset: int = 0
    made_shape: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if not 1 <= len(self.sizes) == len(self.strides) <= AXES or min(self.sizes) < 1:
            raise self.reject(
                "sizes, strides", (self.sizes, self.strides), f"1 to {AXES} axes, sizes positive"
            )
        if self.pattern.elements != math.prod(self.made_shape):
            raise self.reject("made_shape", self.made_shape, f"{self.pattern.elements} elements")

    @property
    def pattern(self) -> Pattern:
        """Return the pattern of the elements, in the order of arrays."""
        return Pattern(self.sizes, self.strides, self.offset)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        return {"sizes": self.sizes, "strides": self.strides, "offset": self.offset}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        count = math.prod(self.one_input(inputs))
        reach = [stride * (size - 1) for size, stride in zip(self.sizes, self.strides, strict=True)]
        low, high = (self.offset + sum(r for r in reach if (r > 0) == up) for up in (False, True))
        if low < 0 or high >= count:
            raise self.reject("inputs", inputs, f"elements {low} to {high}")
        return self.made_shape


@LAYERS.register("take")
@dataclass(frozen=True, eq=False)
class Take(Layer):
    """Along each axis, place p of the output is place places[axis][p] of the input; () leaves an axis unchanged.

    Where a place is -1 the value is z, or with `fill` = "lowest" -128. Scale and zero point are the input's.
    """

    kind: ClassVar[str] = "take"
    places: tuple[Places, ...] = ()
    fill: str = "zero"

    def __post_init__(self) -> None:
        # lists, when read from a file
        object.__setattr__(self, "places", tuple(tuple(int(p) for p in axis) for axis in self.places))
        if self.fill not in ("zero", "lowest"):
            raise self.reject("fill", self.fill, "zero or lowest")

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        return {"places": self.places}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        given = self.one_input(inputs, len(self.places))
        for size, axis in zip(given, self.places, strict=True):
            if any(not OUTSIDE <= place < size for place in axis):
                raise self.reject("places", self.places, f"-1 to {size - 1} along an axis of {size}")
        return tuple(len(axis) or size for size, axis in zip(given, self.places, strict=True))


@LAYERS.register("interpolate")
@dataclass(frozen=True, eq=False)
class Interpolate(Layer):
    """Bilinear interpolation; `rows_part` and `columns_part` count 1024ths of the way from one position to the next one.

    upper = q[rows[r], columns[c]] (1024 - v) + q[rows[r], columns_next[c]] v with v = columns_part[c], lower in the same way with
    rows_next; y = (upper (1024 - u) + lower u + 2^19) >> 20 with u = rows_part[r]. Scale and zero point are the input's. `aligned`: the
    outermost positions of input and output coincide (align_corners).
    """

    kind: ClassVar[str] = "interpolate"
    rows: Places = (0,)
    rows_next: Places = (0,)
    rows_part: Places = (0,)
    columns: Places = (0,)
    columns_next: Places = (0,)
    columns_part: Places = (0,)
    aligned: bool = False

    def __post_init__(self) -> None:
        for name, axis in (("rows", self.row_places), ("columns", self.column_places)):
            if not len(axis[0]) == len(axis[1]) == len(axis[2]) > 0 or min(map(min, axis)) < 0:
                raise self.reject(name, axis, "three lists of equal length, not negative")
            if max(axis[2]) >= PARTS:
                raise self.reject(f"{name}_part", max(axis[2]), f"below {PARTS}")

    @property
    def row_places(self) -> tuple[Places, Places, Places]:
        """Return the lists of the rows."""
        return self.rows, self.rows_next, self.rows_part

    @property
    def column_places(self) -> tuple[Places, Places, Places]:
        """Return the lists of the columns."""
        return self.columns, self.columns_next, self.columns_part

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        channels, rows, columns = self.image(inputs)
        for name, axis, size in (("rows", self.row_places, rows), ("columns", self.column_places, columns)):
            if max(max(axis[0]), max(axis[1])) >= size:
                raise self.reject(name, axis[:2], f"below {size}")
        return self.output_shape((channels, len(self.rows), len(self.columns)), inputs)
