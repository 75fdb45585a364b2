"""The loops of the 3 x 3 depthwise kernels for cores with the instructions of Armv6-M alone; see `sparsemod.kinds.v6m`."""

from dataclasses import dataclass

from sparsemod.kinds.windows import Pair, Window

ALIGNMENT = 3
"""Bytes that the alignment of a kernel's scratch may cost."""

_NUMBERS = 52  # bytes of a channel's constants, as words


@dataclass(frozen=True)
class V6mDepthwise:
    """The loops of a 3 x 3 depthwise convolution: two rows of outputs of one channel at a time.

    A word holds a tap of each of the two rows; a column of the image has three of them."""

    window: Window
    channels: int
    size: Pair
    made: Pair

    @property
    def columns(self) -> int:
        """Columns of words, with the padding."""
        return (self.made[1] - 1) * self.window.stride[1] + 3

    @property
    def gathered(self) -> int:
        """Columns of the input that the words hold."""
        return min(self.size[1], self.columns - self.window.padding[2])

    @property
    def scratch(self) -> int:
        """Bytes of the words and of a channel's constants."""
        return _NUMBERS + 12 * self.columns + ALIGNMENT

    @property
    def pairs(self) -> int:
        """Pairs of rows of outputs; the last one may be half empty."""
        return (self.made[0] + 1) // 2

    @property
    def new_rows(self) -> int:
        """Rows of the input that a pair of rows of outputs reads; the words hold what it shares with the pair before."""
        return 2 * self.window.stride[0]

    @property
    def distance(self) -> int:
        """Positions by which the output must begin before an input that it overwrites.

        The kernel goes through one channel after another, and reads the rows of a pair before it writes the pair's outputs."""
        needed = 0
        for first in range(2, self.made[0], 2):
            unread = max(
                0, first * self.window.stride[0] - self.window.padding[0] + 3 - self.window.stride[0]
            )
            if unread < self.size[0]:
                needed = max(needed, first * self.made[1] - unread * self.size[1])
        return needed

    @property
    def whole(self) -> int:
        """Pairs of rows whose new rows all lie inside of the input."""
        return sum(self._inside(pair) for pair in range(self.pairs))

    def _inside(self, pair: int) -> bool:
        down, top = self.window.stride[0], self.window.padding[0]
        first = 2 * pair * down - top + 3 - down
        return first >= 0 and first + self.new_rows <= self.size[0]

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        channels, whole = self.channels, self.whole
        outputs = channels * self.pairs * self.made[1]
        return {
            "channels": float(channels),
            "filled": float(channels * self.gathered),
            "whole_pairs": float(channels * whole),
            "whole": float(channels * whole * self.gathered),
            "edge_pairs": float(channels * (self.pairs - whole)),
            "edge": float(channels * (self.pairs - whole) * self.gathered),
            "outputs": float(outputs),
            "cleared": float(self.columns),
        }

    @property
    def sure(self) -> bool:
        """Whether the sums fit into 24 bits, as far as the shape tells."""
        return True

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter."""
        return self.channels * (20 - 9 - 9)

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        return {"down": float(self.window.stride[0] == 2), "odd": float(self.made[0] % 2)}


def v6m_depthwise(window: Window, channels: int, outputs: int, size: Pair) -> V6mDepthwise | None:
    """Return the loops of a depthwise convolution on an image of `size` (rows, columns); None where no such kernel exists."""
    if not window.depthwise(channels, outputs) or window.kernel != (3, 3) or window.dilation != (1, 1):
        return None
    if max(window.stride) > 2 or max(window.padding) > 2:
        return None
    return V6mDepthwise(window, channels, size, window.counts(size))
