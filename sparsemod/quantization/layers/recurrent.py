"""Recurrent layers and reductions over valid steps.

A recurrent layer reads a sequence q[t] of features, one step after another (from the last step to the first one with `reverse`), and
has a state of `units` numbers. Numbers in fixed point: Qn stands for a multiple of 2^-n.

The sums of gate row o, whose weights are w[o, :F] for the input and w[o, F:] for the state h (int8, Q7):

    in[o] = requantize(bias[o] + sum_i w[o, i] (q[t, i] - z), multiplier[o], shift[o])                          Q11
    st[o] = requantize(state_bias[o] + sum_j w[o, F + j] h[j], state_multiplier[o], state_shift[o])             Q11

Functions of Q11 numbers, with clip(a) = min(max(a, -32767), 32767) and S[k] = min(32767, round(32768 / (1 + exp(-k / 8)))):

    sigmoid(a) = s for clip(a) >= 0, else 32768 - s, where m = |clip(a)|, k = m >> 8,
                 s = S[k] + (((S[k + 1] - S[k]) (m & 255) + 128) >> 8)                                          Q15
    tanh(a) = 2 sigmoid(2 clip(a)) - 32768                                                                      Q15

The first state is 0. The output is h (scale 1/128, zero point 0): of every step, or with `last` of the last one. With `lengths` = d the
layer stops after the valid steps, max(1, min(steps, length // d)); the output of the others is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sparsemod.layouts import Shape
from sparsemod.quantization.arithmetic import Float32, Int32
from sparsemod.quantization.layers.base import LAYERS, Layer, Weighted, check_requantization

STATE_SCALE, STATE_ZERO = 1 / 128, 0
GATE_BITS = 11
"""Gates are multiples of 2^-11, in 16 bits: -16 to 16."""

SIGMOID: NDArray[np.int64] = np.minimum(
    32767, np.floor(32768 / (1 + np.exp(-np.arange(129) / 8)) + 0.5).astype(np.int64)
)
"""S of the definition."""


@dataclass(frozen=True, eq=False)
class Recurrent(Weighted):
    """Base of the recurrent layers; see the module. `weight` is (gates x units, features + units), with the gates in torch's order."""

    rank: ClassVar[int] = 2
    gates: ClassVar[int]
    state_bias: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    state_multiplier: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    state_shift: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    state_scale: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    units: int = 1
    steps: int = 1
    reverse: bool = False
    last: bool = False
    lengths: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        rows, width = self.weight.shape
        if self.units < 1 or rows != self.gates * self.units or width <= self.units:
            raise self.reject(
                "units", self.units, f"1/{self.gates} of the {rows} rows, below {width} columns"
            )
        if self.steps < 1 or self.lengths < 0:
            raise self.reject("steps, lengths", (self.steps, self.lengths), "at least 1 and 0")
        for name, kind in (
            ("state_bias", np.int32), ("state_multiplier", np.int32), ("state_shift", np.int32), ("state_scale", np.float32),
        ):  # fmt: skip
            array = getattr(self, name)
            if array.dtype != kind or array.shape != (rows,):
                raise self.reject(
                    name, (str(array.dtype), array.shape), f"{kind.__name__} of shape {(rows,)}"
                )
        check_requantization(self, self.state_multiplier, self.state_shift)
        for sums, multiplier, shift in (
            (self.sums(), self.multiplier, self.shift), (self.state_sums(), self.state_multiplier, self.state_shift),
        ):  # fmt: skip
            results = sums * multiplier.astype(np.float64) * np.exp2(shift - 31.0)
            if results.max() >= 2**30:
                raise self.reject("multiplier", float(results.max()), "results below 2^30")

    @property
    def features(self) -> int:
        """Features of a step of the input."""
        return int(self.weight.shape[1]) - self.units

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        names = ("units", "steps", "reverse", "last", "lengths")
        return {name: getattr(self, name) for name in names}

    @property
    def constants(self) -> int:
        """See Weighted: each row has those of the input and those of the state."""
        return 2 * len(self.weight)

    def sums(self) -> Any:
        """See Weighted: of the input's part."""
        flat = np.abs(self.weight[:, : self.features].astype(np.int64))
        return flat.sum(axis=1) * 255 + np.abs(self.bias.astype(np.int64))

    def state_sums(self) -> Any:
        """Return the largest absolute value of the state's part of each row."""
        flat = np.abs(self.weight[:, self.features :].astype(np.int64))
        return flat.sum(axis=1) * 128 + np.abs(self.state_bias.astype(np.int64))

    def largest(self) -> int:
        """See Layer."""
        return int(max(self.sums().max(), self.state_sums().max() if len(self.state_bias) else 0))

    def macs(self, output: Shape) -> int:
        """See Layer."""
        return self.weight.size * self.steps

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        if self.one_input(inputs, 2) != (self.steps, self.features):
            raise self.reject("inputs", inputs, f"shape {(self.steps, self.features)}")
        return (self.units,) if self.last else (self.steps, self.units)


@LAYERS.register("gru")
@dataclass(frozen=True, eq=False)
class Gru(Recurrent):
    """Gated recurrent unit, with the rows of the gates r, z, n. Its state s is int16, Q15; h = clamp((s + 128) >> 8).

    r = sigmoid(in + st); z = sigmoid(in + st); n = tanh(in + ((r clip(st) + 2^14) >> 15)), each of its rows;
    s' = n + ((z (s - n) + 2^14) >> 15).
    """

    kind: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3


@LAYERS.register("lstm")
@dataclass(frozen=True, eq=False)
class Lstm(Recurrent):
    """Long short-term memory, with the rows of the gates i, f, g, o. Its cell c is int16, Q11.

    i, f, o = sigmoid(in + st); g = tanh(in + st), each of its rows; c' = clip((f c + ((i g) >> 4) + 2^14) >> 15);
    h = clamp((((o tanh(c') + 2^14) >> 15) + 128) >> 8).
    """

    kind: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4


@dataclass(frozen=True, eq=False)
class _Steps(Layer):
    """Base of the reductions. `lengths` = d: max(1, min(steps, length // d)) steps are valid."""

    lengths: int = 1

    def __post_init__(self) -> None:
        if self.lengths < 1:
            raise self.reject("lengths", self.lengths, "at least 1")

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        return {"lengths": self.lengths}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        return self.one_input(inputs, 2)[1:]


@LAYERS.register("last_step")
@dataclass(frozen=True, eq=False)
class LastStep(_Steps):
    """y = q[steps - 1] of the valid steps."""

    kind: ClassVar[str] = "last_step"


@LAYERS.register("mean_steps")
@dataclass(frozen=True, eq=False)
class MeanSteps(_Steps):
    """y = z + floor((2 sum_t (q[t] - z) + n) / (2 n)) over the n valid steps: the mean, rounded to nearest, halves upwards."""

    kind: ClassVar[str] = "mean_steps"
