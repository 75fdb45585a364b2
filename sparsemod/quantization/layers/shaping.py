"""Layers that move or join values without changing them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsemod.layouts import Shape
from sparsemod.quantization.layers.base import LAYERS, Clamped, Layer, check_rescaling


@LAYERS.register("concat")
@dataclass(frozen=True, eq=False)
class Concat(Clamped):
    """Concatenation along `axis` (0 = channels), for each input y = clamp(zo + rescale(q_i, z_i, multipliers[i], shifts[i])).

    When multipliers[i] = 2^shifts[i] and z_i = zo, this is a copy.
    """

    kind: ClassVar[str] = "concat"
    axis: int = 0
    multipliers: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for multiplier, shift in zip(self.multipliers, self.shifts, strict=True):
            check_rescaling(self, (multiplier,), shift, 1)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if not inputs or len(inputs) != len(self.multipliers):
            raise self.reject("inputs", inputs, f"{len(self.multipliers)} tensors, at least one")
        first = inputs[0]
        if not 0 <= self.axis < len(first):
            raise self.reject("axis", self.axis, f"0 to {len(first) - 1}")
        rest_shapes = {shape[: self.axis] + shape[self.axis + 1 :] for shape in inputs}
        if len(rest_shapes) != 1 or len({len(shape) for shape in inputs}) != 1:
            raise self.reject("inputs", inputs, f"shapes that differ only in axis {self.axis}")
        return (*first[: self.axis], sum(shape[self.axis] for shape in inputs), *first[self.axis + 1 :])

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """See Layer."""
        pairs = zip(self.multipliers, self.shifts, sources, strict=True)
        return tuple((m / 2.0**shift, s / output_scale) for m, shift, s in pairs)


@LAYERS.register("flatten")
@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """The input's elements as one vector, channel by channel, row by row. Scale and zero point are the input's."""

    kind: ClassVar[str] = "flatten"

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        return (int(np.prod(self.one_input(inputs))),)


@LAYERS.register("reshape")
@dataclass(frozen=True, eq=False)
class Reshape(Layer):
    """The input's elements, channel by channel, row by row, with other axes. Scale and zero point are the input's."""

    kind: ClassVar[str] = "reshape"
    made_shape: tuple[int, ...] = ()

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if math.prod(self.one_input(inputs)) != math.prod(self.made_shape):
            raise self.reject("made_shape", self.made_shape, f"as many elements as {inputs[0]}")
        return self.made_shape


@LAYERS.register("transpose")
@dataclass(frozen=True, eq=False)
class Transpose(Layer):
    """A sequence with its two axes swapped. Scale and zero point are the input's."""

    kind: ClassVar[str] = "transpose"

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        first, second = self.one_input(inputs, 2)
        return second, first
