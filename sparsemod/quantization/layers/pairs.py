"""Arithmetic of two tensors, of which one may be repeated along some axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsemod.layouts import Shape
from sparsemod.quantization.layers.base import (
    LAYERS,
    Clamped,
    check_requantization,
    check_rescaling,
    rescaling_factors,
)


@dataclass(frozen=True, eq=False)
class Pair(Clamped):
    """Base of arithmetic of two tensors of equal rank; an axis of size 1 is repeated along the other tensor's axis."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if len(inputs) != 2 or len(inputs[0]) != len(inputs[1]):
            raise self.reject("inputs", inputs, "two tensors of equal rank")
        made = tuple(max(a, b) for a, b in zip(*inputs, strict=True))
        if any(size not in (1, whole) for shape in inputs for size, whole in zip(shape, made, strict=True)):
            raise self.reject("inputs", inputs, "shapes that are equal but for axes of size 1")
        return made


@dataclass(frozen=True, eq=False)
class Combined(Pair):
    """With a = (q1 - z1) multipliers[0] and b = (q2 - z2) multipliers[1]: y = clamp(zo + (a op b + 2^(shift - 1)) >> shift)."""

    multipliers: tuple[int, ...] = (0, 0)
    shift: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rescaling(self, self.multipliers, self.shift, 2, signed=True)

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """See Layer."""
        return rescaling_factors(self.multipliers, self.shift, sources, output_scale)


@LAYERS.register("sum")
@dataclass(frozen=True, eq=False)
class Sum(Combined):
    """a + b."""

    kind: ClassVar[str] = "sum"


@LAYERS.register("subtract")
@dataclass(frozen=True, eq=False)
class Subtract(Combined):
    """a + b, where multipliers[1] is negative."""

    kind: ClassVar[str] = "subtract"


@LAYERS.register("maximum")
@dataclass(frozen=True, eq=False)
class Maximum(Combined):
    """max(a, b)."""

    kind: ClassVar[str] = "maximum"


@LAYERS.register("minimum")
@dataclass(frozen=True, eq=False)
class Minimum(Combined):
    """min(a, b)."""

    kind: ClassVar[str] = "minimum"


@LAYERS.register("multiply")
@dataclass(frozen=True, eq=False)
class Multiply(Pair):
    """y = clamp(zo + requantize((q1 - z1) (q2 - z2), multiplier, shift))."""

    kind: ClassVar[str] = "multiply"
    multiplier: int = 0
    shift: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_requantization(self, np.array(self.multiplier), np.array(self.shift))

    def largest(self) -> int:
        """See Layer."""
        return 255 * 255
