"""The loops of the kernels that are generated for one shape, for cores with the instructions of Armv6-M alone.

The memory plan, the cost model and the C generator all read a kernel's loops here. A word holds taps of two windows, the second one
65,536 times: one multiplication is two multiply-adds. The kernels compute four windows at a time, with one filter after another.
"""

from dataclasses import dataclass
from functools import cached_property

from sparsemod.kinds.dsp import Turns
from sparsemod.kinds.v6m_depthwise import ALIGNMENT, V6mDepthwise, v6m_depthwise
from sparsemod.kinds.windows import Pair, Window

V6M_CORES = frozenset({"cortex-m0", "cortex-m23"})
"""Cores with 16-bit instructions alone (Armv6-M)."""

LANES = 8
"""Filters whose weights lie side by side; the kernels have the address of a step's weights from that of its taps, 16 bytes a step."""

_LONGEST = 7  # steps of a turn that a branch goes back over
SURE_TAPS = 1000  # 1,000 weights spread evenly over -127..127 times -128 are just below 2^23


def has_v6m(core: str) -> bool:
    """Whether kernels with the instructions of Armv6-M run on `core`; "" is any core."""
    return core in V6M_CORES


@dataclass(frozen=True)
class V6mConv:
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
    def straight(self) -> bool:
        """Whether the windows lie side by side in the input."""
        return self.window.pointwise and self.window.stride == (1, 1)

    @property
    def joined(self) -> bool:
        """Whether channels are copied one tap position at a time at the edges; else whole kernel rows are, by way of bytes."""
        return self.channels % 2 == 0

    @property
    def lines(self) -> int:
        """Bytes of the kernel rows of four windows at the edges."""
        return 0 if self.straight or self.joined else 4 * self.run

    @property
    def steps(self) -> int:
        """Steps of two taps of a window; a kernel row has whole steps."""
        return self.window.kernel[0] * ((self.run + 1) // 2)

    @property
    def turns(self) -> Turns:
        """The loop over the steps."""
        return Turns(self.steps, _LONGEST)

    @property
    def windows(self) -> int:
        """Windows of the input."""
        return self.made[0] * self.made[1]

    @property
    def quads(self) -> int:
        """Groups of four windows; the last one may repeat a window."""
        return (self.windows + 3) // 4

    @property
    def scratch(self) -> int:
        """Bytes of the columns of four windows, and of kernel rows at the edges."""
        return 16 * self.steps + self.lines + ALIGNMENT

    @property
    def blocks(self) -> int:
        """Groups of eight filters; the last one may have filters without weights."""
        return (self.outputs + LANES - 1) // LANES

    @cached_property
    def edges(self) -> int:
        """Groups of windows of which some tap lies outside, that lie on two rows, or that repeat a window."""
        if self.straight:
            return 0
        rows, columns = (
            [taps == self.window.kernel[axis] for taps in self.window.inside(self.size, axis)]
            for axis in (0, 1)
        )
        count, inside = len(columns), 0
        for first in range(0, self.windows - 3, 4):
            row, column = divmod(first, count)
            inside += column + 3 < count and rows[row] and columns[column] and columns[column + 3]
        return self.quads - inside

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        kernel, taps = self.window.kernel
        inside, edges = (self.quads - self.edges) * kernel, self.edges * kernel
        if self.straight:
            inside, edges = self.quads, 0
        lines = inside + (edges * taps if self.joined else edges)
        pairs, odd = divmod(self.run, 2)
        filters = self.quads * self.outputs
        return {
            "quads": float(self.quads),
            "filters": float(filters),
            "steps": float(filters * self.steps),
            "turns": float(filters * self.turns.loops),
            "blocks": float(self.quads * self.blocks),
            "lines": float(lines),
            "pairs": float((inside + edges) * pairs),
            "odd": float((inside + edges) * odd),
            "edges": float(self.edges),
            "edge_lines": float(edges),
            "edge_taps": float(edges * taps if self.joined else 0),
            "edge_bytes": float(0 if self.joined else edges * self.run),
        }

    @property
    def sure(self) -> bool:
        """Whether the sums fit into 24 bits, as far as the shape tells."""
        return self.window.kernel[0] * self.run <= SURE_TAPS

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter."""
        taps = self.outputs * self.window.kernel[0] * self.run
        return 2 * LANES * self.blocks * self.steps + 12 * self.outputs - taps - 9 * self.outputs

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        edge = not self.straight
        return {
            "written": float(self.turns.count + self.turns.rest),
            "loop": float(self.turns.loops > 0),
            "blocks": float(self.blocks > 1),
            "windows": float(edge),
            "rows": float(edge and self.window.kernel[0] > 1),
            "lines": float(self.lines > 0),
        }


def v6m_conv(window: Window, channels: int, outputs: int, size: Pair) -> V6mConv | None:
    """Return the loops of a convolution on an image of `size` (rows, columns); None where no such kernel exists."""
    if window.groups != 1 or window.dilation != (1, 1) or window.depthwise(channels, outputs):
        return None
    return V6mConv(window, channels, outputs, size, window.counts(size))


def v6m_loops(window: Window, channels: int, outputs: int, size: Pair) -> V6mConv | V6mDepthwise | None:
    """Return the loops of any convolution; None where it has no kernel of its own."""
    depthwise = v6m_depthwise(window, channels, outputs, size)
    return depthwise or v6m_conv(window, channels, outputs, size)
