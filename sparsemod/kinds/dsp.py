"""The loops of the kernels that are generated for one shape, for cores with DSP instructions.

The memory plan, the cost model and the C generator all read a kernel's loops here. The kernels compute two windows and four filters at
a time: the windows' taps lie as 16-bit numbers, in pairs, in two columns.
"""

from dataclasses import dataclass
from functools import cached_property

from sparsemod.kinds.windows import Pair, Window

DSP_CORES = frozenset({"cortex-m4", "cortex-m7", "cortex-m33"})
"""Cores with the instructions on two 16-bit numbers (Armv7E-M, and Armv8.0-M with the DSP extension)."""

_ALIGNMENT = 3  # bytes that the alignment of a column may cost
_UNROLLED = 10  # at most this many steps are written out; longer sums are loops
_WRITTEN_WORDS = 12  # a window of at most so many words is read without a loop
_SURE_TAPS = 1000  # 1,000 weights spread evenly over -127..127 times -128 are just below 2^23
_STRIP = 640  # bytes of a strip, unless one row of outputs needs more
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
    """A sum of `steps` steps: written out, or `loops` turns of `count` steps, then `rest` steps."""

    steps: int

    @property
    def count(self) -> int:
        """Steps of one turn; 0 without a loop."""
        if self.steps <= _UNROLLED:
            return 0
        return max(range(4, _LONGEST + 1), key=lambda count: (self.steps % count == 0, count))

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
        return 8 * self.steps + _ALIGNMENT

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
        columns = self.made[1]
        inside = self._inside(0), self._inside(1)
        count = 0
        for first in range(0, self.windows, 2):
            second = first + 1
            row, column = divmod(first, columns)
            whole = second < self.windows and second // columns == row and inside[0][row]
            count += not (whole and inside[1][column] and inside[1][column + 1])
        return count

    def _inside(self, axis: int) -> list[bool]:
        taps = self.window.kernel[axis]
        found = self.window.inside(self.size, axis)
        return [taps_inside == taps for taps_inside in found]

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
        return self.window.kernel[0] * self.run <= _SURE_TAPS

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter, when shifts differ within the layer."""
        taps = self.outputs * self.window.kernel[0] * self.run
        filters = 4 * self.quads + 2 * self.rest
        return filters * (2 * self.steps + 8) + 4 * (self.quads + self.rest) - taps - 9 * self.outputs

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        written = self.turns.count + self.turns.rest
        return {
            "quad": float(self.quads > 0),
            "quad_steps": float(written * (self.quads > 0)),
            "rest": float(self.rest),
            "rest_steps": float(written * self.rest),
            "edge": float(self.edges > 0),
            "rows": float(self.window.kernel[0]),
        }


def dsp_conv(window: Window, channels: int, outputs: int, size: Pair) -> DspConv | None:
    """Return the loops of a convolution on an image of `size` (rows, columns); None where no such kernel exists."""
    if window.groups != 1 or window.dilation != (1, 1) or window.depthwise(channels, outputs):
        return None
    return DspConv(window, channels, outputs, size, window.counts(size))


@dataclass(frozen=True)
class DspDepthwise:
    """The loops of a 3 x 3 depthwise convolution: strips of rows of one channel, two outputs at a time."""

    window: Window
    channels: int
    size: Pair
    made: Pair

    @property
    def row_words(self) -> int:
        """Words of a row of a strip, with its padding."""
        return ((self.made[1] - 1) * self.window.stride[1] + 4) // 2

    @property
    def kept(self) -> int:
        """Rows that a strip shares with the next one."""
        return 3 - self.window.stride[0]

    @property
    def outputs(self) -> int:
        """Rows of outputs of a strip."""
        down = self.window.stride[0]
        return max(1, min(self.made[0], (_STRIP // (4 * self.row_words) - self.kept) // down))

    @property
    def rows(self) -> int:
        """Rows of a strip."""
        return self.outputs * self.window.stride[0] + self.kept

    @property
    def scratch(self) -> int:
        """Bytes of a strip."""
        return 4 * self.rows * self.row_words + _ALIGNMENT

    @property
    def distance(self) -> int:
        """Positions by which the output must begin before an input that it overwrites.

        The kernel goes through one channel after another, and reads the rows of a strip before it writes the strip's outputs."""
        needed = 0
        for first in range(self.outputs, self.made[0], self.outputs):
            unread = first * self.window.stride[0] - self.window.padding[0] + self.kept
            needed = max(needed, first * self.made[1] - max(0, unread) * self.size[1])
        return needed

    @property
    def gathered(self) -> int:
        """Columns of the input that a row holds."""
        left = self.window.padding[2]
        return min(self.size[1], (self.made[1] - 1) * self.window.stride[1] + 3 - left)

    @property
    def step(self) -> int:
        """Columns that one turn of the loop gathers."""
        if self.gathered <= 8:
            return self.gathered
        return next(step for step in (4, 3, 2, 1) if self.gathered % step == 0)

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        strips = -(-self.made[0] // self.outputs)
        lines = self.made[0] * self.window.stride[0] + self.kept
        last = (self.made[0] - 1) * self.window.stride[0] + 3
        top, height = self.window.padding[0], self.size[0]
        inside = min(last - top, height) if last > top else 0
        channels = self.channels
        return {
            "channels": float(channels),
            "filled": float(self.rows * self.row_words),
            "strips": float(channels * strips),
            "moved": float(channels * (strips - 1) * self.kept * self.row_words),
            "lines": float(channels * lines),
            "gathered": float(channels * inside * self.gathered),
            "gathered_turns": float(channels * inside * self.gathered // self.step),
            "outside": float(channels * (lines - inside) * self.gathered),
            "rows": float(channels * self.made[0]),
            "pairs": float(channels * self.made[0] * (self.made[1] // 2)),
            "singles": float(channels * self.made[0] * (self.made[1] % 2)),
        }

    @property
    def sure(self) -> bool:
        """Whether the sums fit into 24 bits, as far as the shape tells."""
        return True

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter."""
        return self.channels * (32 - 9 - 9)

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        return {
            "pair": float(self.made[1] > 1),
            "single": float(self.made[1] % 2),
            "strips": float(self.outputs < self.made[0]),
            "step": float(self.step),
        }


def dsp_depthwise(window: Window, channels: int, outputs: int, size: Pair) -> DspDepthwise | None:
    """Return the loops of a depthwise convolution on an image of `size` (rows, columns); None where no such kernel exists."""
    if not window.depthwise(channels, outputs) or window.kernel != (3, 3) or window.dilation != (1, 1):
        return None
    if max(window.stride) > 2 or max(window.padding) > 2:
        return None
    return DspDepthwise(window, channels, size, window.counts(size))


def dsp_loops(window: Window, channels: int, outputs: int, size: Pair) -> DspConv | DspDepthwise | None:
    """Return the loops of any convolution; None where it has no kernel of its own."""
    depthwise = dsp_depthwise(window, channels, outputs, size)
    return depthwise or dsp_conv(window, channels, outputs, size)


@dataclass(frozen=True)
class DspLinear:
    """The loops of a matrix times a vector: eight filters at a time, then two."""

    taps: int
    outputs: int

    @property
    def words(self) -> int:
        """Turns of the loop, each over four taps."""
        return self.taps // 4

    @property
    def count(self) -> int:
        """Words of one turn of the loop over eight filters."""
        return next(count for count in (4, 2, 1) if self.words % count == 0)

    @property
    def eights(self) -> int:
        """Groups of eight filters."""
        return self.outputs // 8

    @property
    def rest(self) -> int:
        """Groups of two filters after those of eight; the last one may be half empty."""
        return (self.outputs % 8 + 1) // 2

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        tails = (self.taps % 4 + 1) // 2
        return {
            "eight_words": float(self.eights * self.words),
            "eight_tails": float(self.eights * tails),
            "eight_turns": float(self.eights * (self.words // self.count)),
            "eights": float(self.eights),
            "rest_words": float(self.rest * self.words),
            "rest_tails": float(self.rest * tails),
            "rests": float(self.rest),
        }

    @property
    def sure(self) -> bool:
        """Whether the sums fit into 24 bits, as far as the shape tells."""
        return self.taps <= _SURE_TAPS

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter, when shifts differ within the layer."""
        steps = 2 * self.words + (self.taps % 4 + 1) // 2
        filters = 8 * self.eights + 2 * self.rest
        return filters * (2 * steps + 8) + 8 * self.eights + 4 * self.rest - self.outputs * (self.taps + 9)

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        tails, single = (self.taps % 4 + 1) // 2, self.outputs % 2
        rest = (self.rest > single) + single
        return {
            "eight": float(self.eights > 0),
            "eight_turn": float(self.count * (self.eights > 0)),
            "eight_tails": float(tails * (self.eights > 0)),
            "rest": float(rest),
            "rest_tails": float(tails * rest),
        }
