"""The loops of the 3 x 3 depthwise kernels for cores with DSP instructions; see `sparsemod.kinds.dsp`."""

from dataclasses import dataclass

from sparsemod.kinds.windows import Pair, Window

ALIGNMENT = 3
"""Bytes that the alignment of a kernel's scratch may cost."""

_STRIP = 640  # bytes of a strip, unless one row of outputs needs more


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
        return 4 * self.rows * self.row_words + ALIGNMENT

    @property
    def distance(self) -> int:
        """Positions by which the output must begin before an input that it overwrites.

        The kernel goes through one channel after another, and reads the rows of a strip before it writes the strip's outputs."""
        needed = 0
        for first in range(self.outputs, self.made[0], self.outputs):
            unread = max(0, first * self.window.stride[0] - self.window.padding[0] + self.kept)
            if unread < self.size[0]:
                needed = max(needed, first * self.made[1] - unread * self.size[1])
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
        pair, down = self.made[1] > 1, self.window.stride[1] == 2
        return {
            "pair": float(pair),
            "pair_down": float(pair and down),
            "single": float(self.made[1] % 2),
            "strips": float(self.outputs < self.made[0]),
            "step": float(self.step),
            "turns": float(self.gathered > self.step),
        }


def dsp_depthwise(window: Window, channels: int, outputs: int, size: Pair) -> DspDepthwise | None:
    """Return the loops of a depthwise convolution on an image of `size` (rows, columns); None where no such kernel exists."""
    if not window.depthwise(channels, outputs) or window.kernel != (3, 3) or window.dilation != (1, 1):
        return None
    if max(window.stride) > 2 or max(window.padding) > 2:
        return None
    return DspDepthwise(window, channels, size, window.counts(size))
