"""The layers of an integer network: data only, validated at construction.

Every tensor is int8 with one scale and zero point z; shapes are channels first, without batch. Below, z is
the zero point of the input, zo of the output, sums run over all taps inside the (padded) input, `requantize`
and `rescale` are those of `sparsemod.quantization.arithmetic`, and clamp(v) = min(max(v, low), high). A
layer's `low` and `high` hold its activation (relu: low = zo).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, RESCALE_BITS, Float32, Int8, Int32

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """Base: `name` is the layer's path in the module, `inputs` and `output` name tensors of the network."""

    kind: ClassVar[str]
    same_scale: ClassVar[bool] = False  # whether the output has its input's scale and zero point
    name: str
    inputs: tuple[str, ...]
    output: str

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Shape of the output. Raises InvalidInput for inputs that do not fit."""
        raise NotImplementedError

    def macs(self, output: Shape) -> int:
        """Multiply-adds of one sample; 0 for layers without weights."""
        return 0

    def largest(self) -> int:
        """The largest absolute value that an accumulator can take (int32 is required of it)."""
        return 0

    def _reject(self, what: str, value: Any, allowed: str) -> InvalidInput:
        return InvalidInput(f"layer {self.name!r} ({self.kind}).{what}", value, allowed)

    def _one(self, inputs: tuple[Shape, ...], rank: int | None = None) -> Shape:
        if len(inputs) != 1 or (rank is not None and len(inputs[0]) != rank):
            raise self._reject("inputs", inputs, f"one tensor{'' if rank is None else f' of rank {rank}'}")
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Clamped(Layer):
    """A layer that ends in clamp(v) = min(max(v, low), high)."""

    low: int = INT8_MIN
    high: int = INT8_MAX

    def __post_init__(self) -> None:
        if not INT8_MIN <= self.low <= self.high <= INT8_MAX:
            raise self._reject("low, high", (self.low, self.high), "-128 <= low <= high <= 127")


@dataclass(frozen=True, eq=False)
class Weighted(Clamped):
    """Weights per output channel o: int8 `weight`, int32 `bias` (scale: input's x weight_scale[o]),
    `multiplier`, `shift`, `weight_scale`."""

    rank: ClassVar[int]
    weight: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))
    bias: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    multiplier: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    shift: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    weight_scale: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.dtype != np.int8 or self.weight.ndim != self.rank or 0 in self.weight.shape:
            raise self._reject(
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
                raise self._reject(
                    name, (str(array.dtype), array.shape), f"{kind.__name__} of shape {self.weight.shape[:1]}"
                )
        if self.weight.min() < -127:
            raise self._reject("weight", int(self.weight.min()), "-127 to 127")
        check_requantization(self, self.multiplier, self.shift)
        if self.largest() >= 2**31:
            raise self._reject("weight", self.largest(), "weights whose accumulator fits in 32 bits")

    def largest(self) -> int:
        """max over o of sum |w[o]| x 255 + |bias[o]|."""
        return int(self.sums().max())

    def sums(self) -> Any:
        """int64 per output channel: the largest absolute value of its accumulator."""
        flat = np.abs(self.weight.astype(np.int64)).reshape(len(self.weight), -1)
        return flat.sum(axis=1) * 255 + np.abs(self.bias.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """Two-dimensional convolution; outside the input q = z, so that padding adds nothing.

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
        _positive(self, "stride", self.stride)
        _positive(self, "dilation", self.dilation)
        if min(self.padding) < 0:
            raise self._reject("padding", self.padding, "not negative")
        if self.groups < 1 or len(self.weight) % self.groups:
            raise self._reject("groups", self.groups, f"a divisor of {len(self.weight)} output channels")

    @property
    def depthwise(self) -> bool:
        """Whether each output channel reads one input channel of its own group."""
        return self.groups > 1 and self.weight.shape[1] == 1

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        channels, height, width = self._one(inputs, 3)
        if channels != self.weight.shape[1] * self.groups:
            raise self._reject("inputs", inputs, f"{self.weight.shape[1] * self.groups} channels")
        top, bottom, left, right = self.padding
        (ky, kx), (sy, sx), (dy, dx) = self.weight.shape[2:], self.stride, self.dilation
        rows = (height + top + bottom - dy * (ky - 1) - 1) // sy + 1
        columns = (width + left + right - dx * (kx - 1) - 1) // sx + 1
        if rows < 1 or columns < 1:
            raise self._reject("inputs", inputs, f"at least as large as the kernel {(ky, kx)}")
        return len(self.weight), rows, columns

    def macs(self, output: Shape) -> int:
        """See Layer; taps on padding count."""
        return int(np.prod(output)) * int(np.prod(self.weight.shape[1:]))


@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """Matrix times vector.

    acc[o] = bias[o] + sum_i weight[o,i] (q[i] - z); y = clamp(zo + requantize(acc, multiplier[o], shift[o])).
    """

    kind: ClassVar[str] = "linear"
    rank: ClassVar[int] = 2

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if self._one(inputs, 1) != self.weight.shape[1:]:
            raise self._reject("inputs", inputs, f"shape {self.weight.shape[1:]}")
        return self.weight.shape[:1]

    def macs(self, output: Shape) -> int:
        """See Layer."""
        return self.weight.size


@dataclass(frozen=True, eq=False)
class Pool(Layer):
    """Windows of `kernel` positions, each pair is (rows, columns); `padding` = (top, bottom, left, right);
    see the subclasses."""

    same_scale: ClassVar[bool] = True
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False

    def __post_init__(self) -> None:
        for what in ("kernel", "stride", "dilation"):
            _positive(self, what, getattr(self, what))
        halves = (self.kernel[0] // 2,) * 2 + (self.kernel[1] // 2,) * 2
        if min(self.padding) < 0 or any(p > half for p, half in zip(self.padding, halves, strict=True)):
            raise self._reject("padding", self.padding, "at least 0 and at most half of the window")

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer. With `ceil`, a last window that would begin beyond the input and its leading padding is
        left out."""
        channels, *sizes = self._one(inputs, 3)
        result = [channels]
        for axis, size in enumerate(sizes):
            before, after = self.padding[2 * axis : 2 * axis + 2]
            room = size + before + after - self.dilation[axis] * (self.kernel[axis] - 1) - 1
            if room < 0:
                raise self._reject("inputs", inputs, f"at least as large as the window {self.kernel}")
            count = (room + (self.stride[axis] - 1 if self.ceil else 0)) // self.stride[axis] + 1
            if self.ceil and (count - 1) * self.stride[axis] >= size + before:
                count -= 1
            result.append(count)
        return tuple(result)


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """y = max of the window's values inside the input; padding never wins. Scale and zero point are the
    input's."""

    kind: ClassVar[str] = "max_pool"


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
            raise self._reject("dilation", self.dilation, "(1, 1)")


@dataclass(frozen=True, eq=False)
class GlobalAvgPool(Layer):
    """acc = sum over all positions of (q - z); y = clamp(zo + requantize(acc, multiplier, shift)), the
    multiplier holding 1 / (H W).

    `keep` says whether the output is (C, 1, 1) or (C,).
    """

    kind: ClassVar[str] = "global_avg_pool"
    multiplier: int = 0
    shift: int = 0
    keep: bool = True

    def __post_init__(self) -> None:
        check_requantization(self, np.array([self.multiplier]), np.array([self.shift]))

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        channels, height, width = self._one(inputs, 3)
        if height * width * 255 >= 2**31:
            raise self._reject("inputs", inputs, "fewer than 2^23 positions")
        return (channels, 1, 1) if self.keep else (channels,)


@dataclass(frozen=True, eq=False)
class Add(Clamped):
    """y = clamp(zo + rescale((q1, q2), (z1, z2), multipliers, shift)) element by element, shapes equal."""

    kind: ClassVar[str] = "add"
    multipliers: tuple[int, ...] = (0, 0)
    shift: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rescaling(self, self.multipliers, self.shift, 2)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if len(inputs) != 2 or inputs[0] != inputs[1]:
            raise self._reject("inputs", inputs, "two tensors of equal shape")
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Concat(Clamped):
    """Inputs one after another along `axis` (0 = channels), each y = clamp(zo + rescale(q_i, z_i,
    multipliers[i], shifts[i])).

    Where multipliers[i] = 2^shifts[i] and z_i = zo this is a copy.
    """

    kind: ClassVar[str] = "concat"
    axis: int = 0
    multipliers: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for multiplier, shift in zip(self.multipliers, self.shifts, strict=True):
            _check_rescaling(self, (multiplier,), shift, 1)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if not inputs or len(inputs) != len(self.multipliers):
            raise self._reject("inputs", inputs, f"{len(self.multipliers)} tensors, at least one")
        first = inputs[0]
        if not 0 <= self.axis < len(first):
            raise self._reject("axis", self.axis, f"0 to {len(first) - 1}")
        others = {shape[: self.axis] + shape[self.axis + 1 :] for shape in inputs}
        if len(others) != 1 or len({len(shape) for shape in inputs}) != 1:
            raise self._reject("inputs", inputs, f"shapes equal but for axis {self.axis}")
        return (*first[: self.axis], sum(shape[self.axis] for shape in inputs), *first[self.axis + 1 :])


@dataclass(frozen=True, eq=False)
class Clamp(Clamped):
    """y = clamp(q): a relu or relu6 that no other layer could take in. Scale and zero point are the
    input's."""

    kind: ClassVar[str] = "clamp"
    same_scale: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        return self._one(inputs)


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """The same bytes as one vector, channel by channel, row by row. Scale and zero point are the input's."""

    kind: ClassVar[str] = "flatten"
    same_scale: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        return (int(np.prod(self._one(inputs))),)


LAYERS: Mapping[str, type[Layer]] = {
    layer.kind: layer
    for layer in (Conv, Linear, MaxPool, AvgPool, GlobalAvgPool, Add, Concat, Clamp, Flatten)
}
"""Every kind of layer, by the short name that files hold."""


def layer_fields(layer: type[Layer]) -> tuple[str, ...]:
    """Names of a layer's fields, in order."""
    return tuple(f.name for f in fields(layer))


def check_requantization(layer: Layer, multiplier: Any, shift: Any) -> None:
    """Raises InvalidInput unless every multiplier is 0 or in [2^30, 2^31) and every shift in [-31, 30]."""
    fine = (multiplier == 0) | ((multiplier >= 2**30) & (multiplier < 2**31))
    if not np.all(fine & (shift >= -31) & (shift <= 30)):
        raise layer._reject("multiplier, shift", (multiplier, shift), "0 or 2^30 to 2^31 - 1; -31 to 30")


def _check_rescaling(layer: Layer, multipliers: tuple[int, ...], shift: int, count: int) -> None:
    if (
        len(multipliers) != count
        or not all(0 <= m <= 2**RESCALE_BITS for m in multipliers)
        or not 1 <= shift <= 30
    ):
        raise layer._reject(
            "multipliers, shift", (multipliers, shift), f"{count} of 0 to 2^{RESCALE_BITS}; 1 to 30"
        )


def _positive(layer: Layer, what: str, values: tuple[int, ...]) -> None:
    if min(values) < 1:
        raise layer._reject(what, values, "positive")
