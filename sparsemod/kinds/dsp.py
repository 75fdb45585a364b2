"""The loops of the kernels that are generated for one shape, for cores with DSP instructions.

The memory plan, the cost model and the C generator all read a kernel's loops here. The kernels compute two windows and four filters at
a time: the windows' taps lie as 16-bit numbers, in pairs, in two columns.
"""

from dataclasses import dataclass
from functools import cached_property

from sparsemod.kinds.dsp_depthwise import ALIGNMENT, DspDepthwise, dsp_depthwise
from sparsemod.kinds.windows import Pair, Window

DSP_CORES = frozenset({"cortex-m4", "cortex-m7", "cortex-m33"})
"""Cores with the instructions on two 16-bit numbers (Armv7E-M, and Armv8.0-M with the DSP extension)."""

_UNROLLED = 10  # at most this many steps are written out; longer sums are loops
_WRITTEN_WORDS = 12  # a window of at most so many words is read without a loop
SURE_TAPS = 1000  # 1,000 weights spread evenly over -127..127 times -128 are just below 2^23
_LONGEST = 8  # steps in one turn of a loop


def has_dsp(core: str) -> bool:
    """Whether kernels with DSP instructions run on `core`; "" is any core."""
    return core in DSP_CORES


def steps_of(count: int) -> int:
    """Return the words of two taps that hold `count` bytes in a column."""
    return count // 4 * 2 + (count % 4 + 1) // 2


def taps_of(count: int, start: int = 0) -> list[tuple[int, int | None]]:
    """Return the two taps in each word of a column of `count` bytes, the first of which is tap `start`; None is no tap."""
    found: list[tuple[int, int | None]] = []
    whole = count // 4 * 4
    for k in range(0, whole, 4):
        found += [(k, k + 2), (k + 1, k + 3)]
    found += [(k, k + 1 if k + 1 < count else None) for k in range(whole, count, 2)]
    return [(start + a, None if b is None else start + b) for a, b in found]


@dataclass(frozen=True)
class Turns:
    """A sum of `steps` steps: written out, or `loops` turns of `count` steps, at most `longest`, then `rest` steps."""

    steps: int
    longest: int = _LONGEST

    @property
    def count(self) -> int:
        """Steps of one turn; 0 without a loop."""
        if self.steps <= _UNROLLED:
            return 0
        counts = range(self.longest // 2, self.longest + 1)
        return max(counts, key=lambda count: (self.steps % count == 0, count))

    @property
    def loops(self) -> int:
        """Turns of the loop."""
        return self.steps // self.count if self.count else 0

    @property
    def rest(self) -> int:
        """Steps outside of the loop."""
        return self.steps - self.count * self.loops


@dataclass(frozen=True)
class DspConv:
    """The loops of a convolution without groups and dilation: image sizes are (rows, columns)."""

    window: Window
    channels: int
    outputs: int
    size: Pair
    made: Pair

    @property
    def run(self) -> int:
        """Bytes of a kernel row, which lie side by side in the input."""
        return self.window.kernel[1] * self.channels

    @property
    def steps(self) -> int:
        """Words of two taps in a column."""
        return self.window.kernel[0] * steps_of(self.run)

    @property
    def turns(self) -> Turns:
        """The loop over the steps."""
        return Turns(self.steps)

    @property
    def windows(self) -> int:
        """Windows of the input."""
        return self.made[0] * self.made[1]

    @property
    def pairs(self) -> int:
        """Pairs of windows; the last one may be half empty."""
        return (self.windows + 1) // 2

    @property
    def scratch(self) -> int:
        """Bytes of the two columns."""
        return 8 * self.steps + ALIGNMENT

    @property
    def quads(self) -> int:
        """Groups of four filters."""
        return self.outputs // 4

    @property
    def rest(self) -> int:
        """Groups of two filters after those of four; the last one may be half empty."""
        return (self.outputs % 4 + 1) // 2

    @property
    def written_out(self) -> bool:
        """Whether the code that reads a window inside of the input has no loop over kernel rows."""
        return self.window.kernel[0] * ((self.run + 3) // 4) <= _WRITTEN_WORDS

    @cached_property
    def edges(self) -> int:
        """Pairs of windows of which some tap lies outside, or that lie on two rows."""
        if self.window.pointwise and self.window.stride == (1, 1):
            return 0
        return self.pairs - self.window.whole_pairs(self.size, across=False)

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        kernel, taps = self.window.kernel
        words, tails = divmod(self.run, 4)
        inside, edges = float((self.pairs - self.edges) * kernel), float(self.edges * kernel)
        # Where the channels are whole words, an edge copies each tap; elsewhere it copies a row of bytes, and then as inside.
        whole = self.channels % 4 == 0
        lines = inside if whole else inside + edges
        return {
            "pairs": float(self.pairs),
            "quad_steps": float(self.pairs * self.quads * self.steps),
            "quads": float(self.pairs * self.quads),
            "quad_turns": float(self.pairs * self.quads * self.turns.loops),
            "rest_steps": float(self.pairs * self.rest * self.steps),
            "rests": float(self.pairs * self.rest),
            "rest_turns": float(self.pairs * self.rest * self.turns.loops),
            "lines": 0.0 if self.written_out else inside,
            "words": lines * words,
            "halves": lines * (tails >= 2),
            "singles": lines * (tails % 2),
            "edges": float(self.edges),
            "edge_taps": edges * taps if whole else 0.0,
            "edge_words": edges * self.run / 4 if whole else 0.0,
            "edge_lines": 0.0 if whole else edges,
            "edge_bytes": 0.0 if whole else edges * self.run,
        }

    @property
    def sure(self) -> bool:
        """Whether the sums fit into 24 bits, as far as the shape tells."""
        return self.window.kernel[0] * self.run <= SURE_TAPS

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter, when shifts differ within the layer."""
        taps = self.outputs * self.window.kernel[0] * self.run
        filters = 4 * self.quads + 2 * self.rest
        return filters * (2 * self.steps + 8) + 4 * (self.quads + self.rest) - taps - 9 * self.outputs

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        turns = self.turns
        written, looped = turns.count + turns.rest, turns.loops > 0
        quad, pairs = self.quads > 0, self.windows > 1
        parts = {
            "quad": quad,
            "quads": self.quads > 1,
            "quad_steps": quad * written,
            "quad_loop": quad * looped,
            "rest": self.rest,
            "rest_steps": self.rest * written,
            "rest_loop": self.rest * looped,
            "rest_single": self.outputs % 2,
            **(self._straight_code(pairs) if self.window.pointwise and self.window.stride == (1, 1) else self._window_code(pairs)),
        }  # fmt: skip
        return {name: float(count) for name, count in parts.items()}

    def _straight_code(self, pairs: bool) -> dict[str, float]:
        """Return the parts of the code that copies 1 x 1 windows."""
        copies = pairs + self.windows % 2
        return {"straight": 1.0, **{f"straight_{name}": n for name, n in self._copy_code(copies).items()}}

    def _window_code(self, pairs: bool) -> dict[str, float]:
        """Return the parts of the code that copies windows: inside of the input, and at its edges."""
        (rows, columns), (kernel_rows, kernel_columns) = self.size, self.window.kernel
        # Without such windows the compiler drops the code for them.
        inside = pairs and rows >= kernel_rows and columns - kernel_columns - self.window.stride[1] >= 0
        copies = inside * (kernel_rows if self.written_out else 1)
        whole, many = self.channels % 4 == 0, self.channels > 1
        edge = "whole" if whole else "edge"
        parts = {
            "pairs": pairs,
            "inside": inside,
            "inside_loop": inside and not self.written_out,
            "wide": pairs and self.made[1] > 1,
            edge: 1.0,
            f"{edge}_rows": kernel_rows > 1,
            f"{edge}_columns": kernel_columns > 1,
            f"{edge}_odd": self.windows % 2,
            f"{edge}_only": self.windows == 1,
            f"{edge}_flat": rows == 1,
            f"{edge}_padded": max(self.window.padding) > 0,
        }
        if whole:
            parts |= {"whole_words": self.channels > 4, "whole_outside": self.channels}
        else:
            lines = self._copy_code(1).items()
            parts |= {
                "edge_many": many,
                "edge_taps": many and kernel_columns > 1,
                **{f"edge_{name}": n for name, n in lines},
            }
        return {**parts, **{f"inside_{name}": n for name, n in self._copy_code(copies).items()}}

    def _copy_code(self, copies: int) -> dict[str, float]:
        """Return the parts of `copies` places that copy a kernel row."""
        words, tails = divmod(self.run, 4)
        parts = {
            "copies": True,
            "words": words > 0,
            "one_word": words == 1,
            "halves": tails >= 2,
            "singles": tails % 2,
        }
        return {name: float(copies * part) for name, part in parts.items()}


def dsp_conv(window: Window, channels: int, outputs: int, size: Pair) -> DspConv | None:
    """Return the loops of a convolution on an image of `size` (rows, columns); None where no such kernel exists."""
    if window.groups != 1 or window.dilation != (1, 1) or window.depthwise(channels, outputs):
        return None
    return DspConv(window, channels, outputs, size, window.counts(size))


def dsp_loops(window: Window, channels: int, outputs: int, size: Pair) -> DspConv | DspDepthwise | None:
    """Return the loops of any convolution; None where it has no kernel of its own."""
    depthwise = dsp_depthwise(window, channels, outputs, size)
    return depthwise or dsp_conv(window, channels, outputs, size)


def without_loops(window: Window, channels: int, outputs: int) -> str:
    """Say why `dsp_loops` returns None."""
    if window.dilation != (1, 1):
        return f"a dilation of {window.dilation[0]} x {window.dilation[1]}"
    if not window.depthwise(channels, outputs):
        return f"{window.groups} groups"
    if window.kernel != (3, 3):
        return f"a depthwise window of {window.kernel[0]} x {window.kernel[1]}, not 3 x 3"
    return f"a depthwise stride of {window.stride[0]} x {window.stride[1]} or a padding of {max(window.padding)}, more than 2"
