"""Base classes of the layers of an integer network: data only, validated at construction.

Every tensor is int8 with one scale and zero point z; shapes are channels first, without batch; a sequence (C, L) is processed as an image
(C, 1, L). In the layers' definitions z is the zero point of the input and zo that of the output. Sums run over all taps inside the
(padded) input. `requantize` and `rescale` are those of `sparsemod.quantization.arithmetic`, and clamp(v) = min(max(v, low), high). A
layer's `low` and `high` express its activation (relu: low = zo).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.kinds import Kind, Stage, kind_of
from sparsemod.kinds.windows import Window
from sparsemod.layouts import Shape, layout
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, RESCALE_BITS, Float32, Int8, Int32


@dataclass(frozen=True, eq=False)
class Layer:
    """Base class. `name` is the layer's path in the module; `inputs` and `output` name tensors of the network."""

    kind: ClassVar[str]
    name: str
    inputs: tuple[str, ...]
    output: str

    @property
    def traits(self) -> Kind:
        """Return the layer's kind. Raises Unsupported for an unregistered kind."""
        return kind_of(self.kind, self.name, LAYERS.title)

    @property
    def window(self) -> Window:
        """Return the layer's window; a single position for kinds without a window."""
        return Window()

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Return the fields on which memory and the loops of kernels depend, with the names of the operator's attributes."""
        return {}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Return the shape of the output. Raises InvalidInput for inputs that do not fit."""
        raise NotImplementedError

    def macs(self, output: Shape) -> int:
        """Return the multiply-adds of one sample; 0 for layers without weights."""
        return 0

    def buffer(self, output: Shape) -> int:
        """Return the elements of the largest buffer, besides its tensors, that the layer's integer kernel needs for one sample."""
        return 0

    def largest(self) -> int:
        """Return the largest possible absolute value of an accumulator (it must fit in int32)."""
        return 0

    def factors(
        self, sources: Sequence[float], output_scale: float, shape: Shape
    ) -> tuple[tuple[float, float], ...]:
        """Return the layer's integer rescaling factors, each with the real factor that follows from the scales of the tensors.

        `sources` are the inputs' scales, `shape` is the first input's shape. Weighted layers return none: their weights'
        scales contain their factors.
        """
        return ()

    def reject(self, field: str, value: Any, allowed: str) -> InvalidInput:
        return InvalidInput(f"layer {self.name!r} ({self.kind}).{field}", value, allowed)

    def image(self, inputs: tuple[Shape, ...]) -> tuple[int, int, int]:
        """Return the only input as an image (channels, rows, columns). Raises InvalidInput for a tensor without positions."""
        shape = self.one_input(inputs)
        if len(shape) not in (2, 3):
            raise self.reject("inputs", inputs, "one tensor with positions: (C, L) or (C, H, W)")
        return layout(None, shape).image(shape)

    def output_shape(self, image: tuple[int, int, int], inputs: tuple[Shape, ...]) -> Shape:
        """Return the output image's shape in the layout of the only input. Raises InvalidInput when a sequence would get rows."""
        source = layout(None, inputs[0])
        if source.rank == 2 and image[1] != 1:
            raise self.reject("output", image, "one row, as the input is a sequence")
        return source.sample(image)

    def one_input(self, inputs: tuple[Shape, ...], rank: int | None = None) -> Shape:
        if len(inputs) != 1 or (rank is not None and len(inputs[0]) != rank):
            raise self.reject("inputs", inputs, f"one tensor{'' if rank is None else f' of rank {rank}'}")
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Clamped(Layer):
    """A layer that ends in clamp(v) = min(max(v, low), high)."""

    low: int = INT8_MIN
    high: int = INT8_MAX

    def __post_init__(self) -> None:
        if not INT8_MIN <= self.low <= self.high <= INT8_MAX:
            raise self.reject("low, high", (self.low, self.high), "-128 <= low <= high <= 127")


@dataclass(frozen=True, eq=False)
class Weighted(Clamped):
    """A layer with weights.

    Per output channel o: int8 `weight`, int32 `bias` (scale: the input's scale x weight_scale[o]), `multiplier`, `shift`,
    `weight_scale`."""

    rank: ClassVar[int]
    weight: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))
    bias: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    multiplier: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    shift: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    weight_scale: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.dtype != np.int8 or self.weight.ndim != self.rank or 0 in self.weight.shape:
            raise self.reject(
                "weight", (str(self.weight.dtype), self.weight.shape), f"int8 of rank {self.rank}, not empty"
            )
        for name, kind in (
            ("bias", np.int32),
            ("multiplier", np.int32),
            ("shift", np.int32),
            ("weight_scale", np.float32),
        ):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != self.weight.shape[:1]:
                raise self.reject(
                    name, (str(array.dtype), array.shape), f"{kind.__name__} of shape {self.weight.shape[:1]}"
                )
        if self.weight.min() < -127:
            raise self.reject("weight", int(self.weight.min()), "-127 to 127")
        check_requantization(self, self.multiplier, self.shift)
        if self.largest() >= 2**31:
            raise self.reject("weight", self.largest(), "weights whose accumulator fits in 32 bits")

    def macs(self, output: Shape) -> int:
        """See Layer; taps on padding count."""
        return self.weight.size * math.prod(output[1:])

    @property
    def constants(self) -> int:
        """Return the number of rows of constants: bias, multiplier and shift."""
        return len(self.weight)

    def largest(self) -> int:
        """max over o of sum |w[o]| x 255 + |bias[o]|."""
        return int(self.sums().max())

    def sums(self) -> Any:
        """Return the largest absolute value of each output channel's accumulator, int64."""
        flat = np.abs(self.weight.astype(np.int64)).reshape(len(self.weight), -1)
        return flat.sum(axis=1) * 255 + np.abs(self.bias.astype(np.int64))


LAYERS: "Stage[type[Layer]]" = Stage(
    "the integer network", builtin=("sparsemod.quantization.layers @LAYERS",)
)
"""Layer classes by kind; the kind is the short name in files."""


def layer_fields(layer: type[Layer]) -> tuple[str, ...]:
    """Return the names of a layer's fields, in order."""
    return tuple(f.name for f in fields(layer))


def check_requantization(layer: Layer, multiplier: Any, shift: Any) -> None:
    """Raise InvalidInput unless every multiplier is 0 or in [2^30, 2^31) and every shift in [-31, 30]."""
    valid = (multiplier == 0) | ((multiplier >= 2**30) & (multiplier < 2**31))
    if not np.all(valid & (shift >= -31) & (shift <= 30)):
        raise layer.reject("multiplier, shift", (multiplier, shift), "0 or 2^30 to 2^31 - 1; -31 to 30")


def check_rescaling(
    layer: Layer, multipliers: tuple[int, ...], shift: int, count: int, *, signed: bool = False
) -> None:
    """Raise InvalidInput unless there are `count` multipliers of at most 2^RESCALE_BITS, and the shift is in [1, 30].

    Negative multipliers are allowed only when `signed`.
    """
    limit = 1 << RESCALE_BITS
    least = -limit if signed else 0
    if len(multipliers) != count or any(not least <= m <= limit for m in multipliers) or not 1 <= shift <= 30:
        raise layer.reject(
            "multipliers, shift", (multipliers, shift), f"{count} of {least} to {limit}; 1 to 30"
        )


def rescaling_factors(
    multipliers: Sequence[int], shift: int, sources: Sequence[float], output_scale: float
) -> tuple[tuple[float, float], ...]:
    """Return each input's integer factor |multiplier| / 2^shift with the real factor source / output_scale."""
    return tuple(
        (abs(m) / 2.0**shift, source / output_scale) for m, source in zip(multipliers, sources, strict=True)
    )


def check_positive(layer: Layer, field: str, values: tuple[int, ...]) -> None:
    if min(values) < 1:
        raise layer.reject(field, values, "positive")
