"""The loops of the kernels that are generated for one shape, for cores with Helium, the vector extension (MVE) of Armv8.1-M.

The memory plan, the cost model and the C generator all read a kernel's loops here.
"""

from dataclasses import dataclass
from functools import cached_property

from sparsemod.kinds.mve_depthwise import MveDepthwise, mve_depthwise
from sparsemod.kinds.mve_filters import LANES, Filters, Sums
from sparsemod.kinds.windows import Pair, Window

MVE_CORES = frozenset({"cortex-m55", "cortex-m85"})
"""Cores with vector instructions on integers (Armv8.1-M)."""

_WIDEST = 12  # vectors of a kernel row that is read where it lies


def has_mve(core: str) -> bool:
    """Whether kernels with vector instructions run on `core`; "" is any core."""
    return core in MVE_CORES


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
        return self.pairs - self.window.whole_pairs(self.size, across=True)

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
