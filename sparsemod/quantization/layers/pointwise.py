"""Addition, and activations that are not fused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparsemod.layouts import Shape
from sparsemod.quantization.layers.base import LAYERS, Clamped, check_rescaling, rescaling_factors


@LAYERS.register("add")
@dataclass(frozen=True, eq=False)
class Add(Clamped):
    """y = clamp(zo + rescale((q1, q2), (z1, z2), multipliers, shift)) element by element, shapes equal."""

    kind: ClassVar[str] = "add"
    multipliers: tuple[int, ...] = (0, 0)
    shift: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rescaling(self, self.multipliers, self.shift, 2)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if len(inputs) != 2 or inputs[0] != inputs[1]:
            raise self.reject("inputs", inputs, "two tensors of equal shape")
        return inputs[0]

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """See Layer."""
        return rescaling_factors(self.multipliers, self.shift, sources, output_scale)


@LAYERS.register("clamp")
@dataclass(frozen=True, eq=False)
class Clamp(Clamped):
    """y = clamp(q): a relu or relu6 that could not be fused. Scale and zero point are the input's."""

    kind: ClassVar[str] = "clamp"

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        return self.one_input(inputs)
