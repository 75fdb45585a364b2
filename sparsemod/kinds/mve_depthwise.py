"""The loops of 3 x 3 depthwise convolutions for cores with Helium (MVE)."""

from dataclasses import dataclass

from sparsemod.kinds.mve_filters import LANES
from sparsemod.kinds.windows import Pair, Window

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
    def distance(self) -> int:
        """Positions by which the output must begin before an input that it overwrites.

        The kernel goes through 16 channels after another, and reads the rows of all groups in the scratch before it writes their outputs.
        A last single row of outputs is computed together with the one before it."""
        needed = row = 0
        while row < self.made[0]:
            groups = min((self.made[0] - row) // self.down, self.groups)
            first = row if groups else row - 1
            unread = max(0, first * self.stride - self.window.padding[0])
            if unread < self.size[0]:
                needed = max(needed, row * self.made[1] - unread * self.size[1])
            row = first + max(1, groups) * self.down
        return needed

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
