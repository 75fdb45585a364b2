"""The loops of the kernels that are generated for one shape, for cores with Helium, the vector extension (MVE) of Armv8.1-M.

The memory plan, the cost model and the C generator all read a kernel's loops here. A vector has 16 bytes: 16 taps of one filter.
"""

from dataclasses import dataclass
from functools import cached_property

from sparsemod.kinds.windows import Pair, Window

MVE_CORES = frozenset({"cortex-m55"})
"""Cores with vector instructions on integers (Armv8.1-M)."""

LANES = 16
_UNROLLED = 9  # at most this many vectors are written out; longer sums are loops
_WIDEST = 12  # vectors of a kernel row that is read where it lies
_LONGEST = 6  # vectors of one turn of a loop


def has_mve(core: str) -> bool:
    """Whether kernels with vector instructions run on `core`; "" is any core."""
    return core in MVE_CORES


@dataclass(frozen=True)
class Sums:
    """The order in which a kernel reads taps: `rows` runs of `run` taps each.

    Between runs the addresses of the taps jump; then a run is whole vectors. `padded`: the bytes after the last tap are zeros."""

    rows: int
    run: int
    padded: bool = False

    @property
    def taps(self) -> int:
        """Weights of a filter."""
        return self.rows * self.run

    @property
    def whole(self) -> int:
        """Whole vectors of a run."""
        return self.run // LANES

    @property
    def tail(self) -> int:
        """Taps of the last vector, which is not a whole one; 0 without."""
        return self.run % LANES

    @property
    def vectors(self) -> int:
        """Vectors of a filter."""
        return self.rows * (self.whole + (self.tail > 0))

    @property
    def masked(self) -> bool:
        """Whether the last vector reads its taps alone, because what follows them is not zero."""
        return self.tail > 0 and not self.padded

    @cached_property
    def turns(self) -> tuple[int, int, int]:
        """Vectors before a loop over the vectors of one run, vectors of a turn, and turns."""
        if self.vectors <= _UNROLLED:
            return self.whole, 0, 0
        if self.rows > 1:
            return 0, self.whole, self.rows
        choices = [
            (count + self.whole - count * loops, loops, count)
            for count in range(3, _LONGEST + 1)
            for loops in [(self.whole - 1) // count]
            if loops > 0
        ]
        _, loops, count = min(choices)
        return self.whole - count * loops, count, loops

    @property
    def written(self) -> int:
        """Vectors in the code."""
        before, count, _ = self.turns
        if self.rows > 1 and not count:
            return self.vectors
        return before + count + (self.tail > 0)


@dataclass(frozen=True)
class Filters:
    """Filters on one window, eight at a time, or on two windows (`pair`), four at a time."""

    sums: Sums
    outputs: int
    pair: bool

    @property
    def group(self) -> int:
        """Filters of a group."""
        return 4 if self.pair else 8

    @property
    def groups(self) -> int:
        """Whole groups."""
        return self.outputs // self.group

    @property
    def rest(self) -> int:
        """Filters of the last group, which is not a whole one; 0 without."""
        return self.outputs % self.group

    def features(self, calls: float = 1.0) -> dict[str, float]:
        """Return how often each part of the code runs in so many calls."""
        vectors, (_, _, turns) = self.sums.vectors, self.sums.turns
        rest = float(self.rest > 0)
        return {
            "applied": calls,
            "group_vectors": calls * self.groups * vectors,
            "groups": calls * self.groups,
            "turns": calls * (self.groups + rest) * turns,
            "masked": calls * (self.groups + rest) * self.sums.masked,
            "rest_vectors": calls * rest * vectors,
            "rest_products": calls * self.rest * vectors,
            "rests": calls * rest,
        }

    @property
    def sure(self) -> bool:
        """Whether the kernel runs, as far as the shape tells."""
        return True

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter: those of filters that do not exist, and a struct."""
        lanes = -(-self.rest // 4) * 4
        return 9 * (lanes - self.rest) + 16

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        written, loop = float(self.sums.written), float(self.sums.turns[1] > 0)
        return {
            "group": float(self.groups > 0),
            "group_vectors": written * (self.groups > 0),
            "loops": loop * ((self.groups > 0) + (self.rest > 0)),
            "rest": float(self.rest > 0),
            "rest_vectors": written * (self.rest > 0),
            "rest_products": written * self.rest,
        }


@dataclass(frozen=True)
class MveConv:
    """The loops of a convolution without groups and dilation: image sizes are (rows, columns). Windows come in pairs."""

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
    def taps(self) -> int:
        """Weights of a filter."""
        return self.window.kernel[0] * self.run

    @property
    def windows(self) -> int:
        """Windows of the input."""
        return self.made[0] * self.made[1]

    @property
    def pairs(self) -> int:
        """Pairs of windows; for an odd number the last pair repeats a window, and a single window is none."""
        return (self.windows + 1) // 2 if self.windows > 1 else 0

    @property
    def direct(self) -> bool:
        """Whether windows inside of the input are read where they lie."""
        whole = self.run % LANES == 0 and self.run // LANES <= _WIDEST
        return self.window.pointwise or (whole and self.pairs > 0)

    @property
    def filters(self) -> Filters:
        """The loops over filters and taps."""
        pair = self.pairs > 0
        if self.window.pointwise:
            sums = Sums(1, self.channels)
        elif self.direct:
            sums = Sums(self.window.kernel[0], self.run)
        else:
            sums = Sums(1, self.taps, padded=True)
        return Filters(sums, self.outputs, pair)

    @property
    def column(self) -> int:
        """Bytes of the copy of a window, with zeros after it."""
        return (self.taps + LANES - 1) // LANES * LANES + LANES

    @property
    def scratch(self) -> int:
        """Bytes of the copies of two windows."""
        return 0 if self.window.pointwise else self.column * (2 if self.pairs else 1)

    @property
    def even(self) -> bool:
        """Whether both windows of each pair lie on one row of the output."""
        return self.made[1] % 2 == 0

    @cached_property
    def edges(self) -> int:
        """Pairs of windows of which some tap lies outside."""
        if self.window.pointwise or not self.pairs:
            return 0
        inside = [
            [found == taps for found in self.window.inside(self.size, axis)]
            for axis, taps in enumerate(self.window.kernel)
        ]
        columns, count = self.made[1], 0
        for first in range(0, self.windows - 1, 2):
            places = divmod(first, columns), divmod(first + 1, columns)
            count += not all(inside[0][row] and inside[1][column] for row, column in places)
        return count + self.windows % 2

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        kernel = self.window.kernel[0]
        copied = 0 if self.direct else self.pairs - self.edges
        edge_windows = 2.0 * self.edges + (not self.pairs and not self.window.pointwise)
        vectors = -(-self.run // LANES)
        return {
            **self.filters.features(float(self.pairs or 1)),
            "strided": float(not self.window.pointwise or self.window.stride != (1, 1)) * self.pairs,
            "odd": float(not self.even and not self.window.pointwise) * self.pairs,
            "copied": float(copied),
            "copied_rows": float(copied * kernel),
            "copied_vectors": float(copied * kernel * vectors),
            "edges": edge_windows,
            "edge_rows": edge_windows * kernel,
            "edge_vectors": edge_windows * kernel * vectors,
        }

    @property
    def sure(self) -> bool:
        """Whether the kernel runs, as far as the shape tells."""
        return True

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter."""
        return self.filters.extra

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        copied = float(not self.direct)
        return {
            **self.filters.code(),
            "edge": float(not self.window.pointwise),
            "odd": float(not self.even and not self.window.pointwise),
            "copied": copied,
            "copied_rows": copied * self.window.kernel[0],
        }


def mve_conv(window: Window, channels: int, outputs: int, size: Pair) -> MveConv | None:
    """Return the loops of a convolution on an image of `size` (rows, columns); None where no such kernel exists."""
    if window.groups != 1 or window.depthwise(channels, outputs) or window.dilation != (1, 1) or window.ceil:
        return None
    return MveConv(window, channels, outputs, size, window.counts(size))


_BUFFER = 2048  # bytes of the columns of words, unless those of one group of rows need more
_LARGEST = 4096  # bytes of scratch that any layer may have
_SHARE = 4  # a layer may have more, up to this part of its input and output
_WORDS = 64  # bytes of a column: a word of each of 16 channels


@dataclass(frozen=True)
class MveDepthwise:
    """The loops of a 3 x 3 depthwise convolution with a stride of 1 or 2, 16 channels at a time.

    A word holds up to four rows of one channel and column; a vector of four columns has the taps of 2 x 2 outputs, or, for a stride of 2,
    of one. A group is the outputs of one row of words: two rows of outputs, or one."""

    window: Window
    channels: int
    size: Pair
    made: Pair

    @property
    def stride(self) -> int:
        """The stride of rows and columns."""
        return self.window.stride[0]

    @property
    def lines(self) -> int:
        """Rows of the input in a word."""
        return 5 - self.stride

    @property
    def down(self) -> int:
        """Rows of outputs of a group."""
        return 3 - self.stride

    @property
    def columns(self) -> int:
        """Columns of words."""
        made = self.made[1]
        return made + 2 + made % 2 if self.stride == 1 else 2 * made + 2

    @property
    def group_bytes(self) -> int:
        """Bytes of the words of a group."""
        return _WORDS * self.columns

    @property
    def groups(self) -> int:
        """Groups that the scratch holds at a time."""
        return max(1, min(self.made[0] // self.down, _BUFFER // self.group_bytes))

    @property
    def scratch(self) -> int:
        """Bytes of the words, of a vector of zero points, and of alignment."""
        return self.groups * self.group_bytes + LANES + 3

    @property
    def filled(self) -> int:
        """Columns of the input that the words hold."""
        return min(self.size[1], self.columns - self.window.padding[2])

    @property
    def blocks(self) -> int:
        """Whole vectors of four outputs in a group."""
        return self.made[1] // (2 * self.stride)

    @property
    def tail(self) -> int:
        """Columns of outputs after the whole vectors."""
        return self.made[1] % (2 * self.stride)

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        groups = -(-self.made[0] // self.down)
        whole = self.made[0] // self.down
        tiles = -(-whole // self.groups) + groups - whole
        sixteens = -(-self.channels // LANES)
        return {
            "tiles": float(tiles * sixteens),
            "filled_groups": float(groups * sixteens),
            "filled_columns": float(groups * sixteens * self.filled),
            "filters": float(tiles * self.channels),
            "groups": float(groups * self.channels),
            "blocks": float(groups * self.channels * self.blocks),
            "tails": float(groups * self.channels * (self.tail > 0)),
            "cleared": float(self.groups * self.group_bytes / LANES),
            "strided": float((self.stride == 2) * groups * self.channels * self.blocks),
        }

    @property
    def sure(self) -> bool:
        """Whether the kernel runs, as far as the shape tells."""
        return True

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter."""
        return 3 * self.channels

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        return {
            "strided": float(self.stride == 2),
            "block": float(self.blocks > 0),
            "tail": float(self.tail > 0),
        }


def mve_depthwise(window: Window, channels: int, outputs: int, size: Pair) -> MveDepthwise | None:
    """Return the loops of a depthwise convolution on an image of `size` (rows, columns); None where no such kernel exists.

    There is none where the words would need much memory beside input and output."""
    if (
        not window.depthwise(channels, outputs)
        or window.kernel != (3, 3)
        or window.dilation != (1, 1)
        or window.ceil
    ):
        return None
    if window.stride not in ((1, 1), (2, 2)):
        return None
    loops = MveDepthwise(window, channels, size, window.counts(size))
    most = max(_LARGEST, channels * (size[0] * size[1] + loops.made[0] * loops.made[1]) // _SHARE)
    fits = loops.made[0] >= loops.down and loops.filled > 0
    return loops if fits and loops.scratch <= most else None


def mve_loops(window: Window, channels: int, outputs: int, size: Pair) -> MveConv | MveDepthwise | None:
    """Return the loops of any convolution; None where it has no kernel of its own."""
    depthwise = mve_depthwise(window, channels, outputs, size)
    return depthwise or mve_conv(window, channels, outputs, size)


def without_loops(window: Window, channels: int, outputs: int, size: Pair) -> str:
    """Say why `mve_loops` returns None."""
    if window.dilation != (1, 1):
        return f"a dilation of {window.dilation[0]} x {window.dilation[1]}"
    if window.ceil:
        return "a last window that reaches beyond the padding"
    if not window.depthwise(channels, outputs):
        return f"{window.groups} groups"
    if window.kernel != (3, 3):
        return f"a depthwise window of {window.kernel[0]} x {window.kernel[1]}, not 3 x 3"
    if window.stride not in ((1, 1), (2, 2)):
        return f"a depthwise stride of {window.stride[0]} x {window.stride[1]}, not 1 or 2"
    if window.counts(size)[0] == 1:
        return "one row of outputs"
    return "words of its rows would need much memory beside input and output"


def mve_linear(taps: int, outputs: int) -> Filters:
    """Return the loops of a matrix times a vector."""
    return Filters(Sums(1, taps), outputs, pair=False)


@dataclass(frozen=True)
class MveAdd:
    """The loop of a sum of two tensors, eight elements at a time."""

    elements: int

    @property
    def sure(self) -> bool:
        """Whether the kernel runs, as far as the shape tells."""
        return True

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond those of the plain kernel."""
        return 0

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        return {"eights": float(self.elements // 8), "tail": float(self.elements % 8 > 0)}

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes: none."""
        return {}
