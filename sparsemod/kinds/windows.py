"""Geometry of windows over the positions of an image, shared by capture, memory, costs and exporters."""

from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """`kernel`, `stride` and `dilation` are (rows, columns), `padding` is (top, bottom, left, right).

    The `groups` of channels are processed separately. With `ceil`, the last window may reach beyond input and padding.
    """

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    ceil: bool = False

    @property
    def pointwise(self) -> bool:
        """Whether the kernel is 1 x 1, without padding and groups, so that the window is the input itself."""
        return self.kernel == (1, 1) and not any(self.padding) and self.groups == 1

    def depthwise(self, channels: int, outputs: int) -> bool:
        """Whether each channel has exactly one filter."""
        return self.groups == channels == outputs and self.groups > 1

    def conv_kernel(self, channels: int, outputs: int) -> str:
        """Return the C kernel of a convolution with this window: depthwise, conv_1x1 or conv."""
        if self.depthwise(channels, outputs):
            return "depthwise"
        return "conv_1x1" if self.pointwise else "conv"

    def around(self, axis: int) -> Pair:
        """Return the padding (before, after) along an axis: 0 rows, 1 columns."""
        return self.padding[2 * axis], self.padding[2 * axis + 1]

    def room(self, size: Pair, axis: int) -> int:
        """Return how many positions the first window can move along an axis of an input of `size` (rows, columns).

        The result is negative when the window does not fit."""
        return size[axis] + sum(self.around(axis)) - self.dilation[axis] * (self.kernel[axis] - 1) - 1

    def counts(self, size: Pair) -> Pair:
        """Return the rows and columns of the output; not positive when the window does not fit.

        With `ceil`, a last window that would begin beyond the input and its leading padding is omitted."""
        counts = []
        for axis in (0, 1):
            stride = self.stride[axis]
            count = (self.room(size, axis) + (stride - 1 if self.ceil else 0)) // stride + 1
            if self.ceil and (count - 1) * stride >= size[axis] + self.around(axis)[0]:
                count -= 1
            counts.append(count)
        return counts[0], counts[1]

    def beyond(self, size: Pair) -> Pair:
        """Return the rows and columns by which the last window, with `ceil`, reaches beyond the input and its padding."""
        counts = self.counts(size)

        def along(axis: int) -> int:
            end = (counts[axis] - 1) * self.stride[axis] + self.dilation[axis] * (self.kernel[axis] - 1) + 1
            return max(0, end - size[axis] - sum(self.around(axis)))

        return along(0), along(1)

    def inside(self, size: Pair, axis: int) -> tuple[int, ...]:
        """Return, for each output along an axis, the number of its window's taps inside the input."""
        before, step, apart = self.around(axis)[0], self.stride[axis], self.dilation[axis]
        return tuple(
            sum(0 <= place * step - before + tap * apart < size[axis] for tap in range(self.kernel[axis]))
            for place in range(self.counts(size)[axis])
        )

    def whole_pairs(self, size: Pair, *, across: bool) -> int:
        """Return how many pairs of windows have all their taps inside the input: the first and the second window, the third and the
        fourth, ...; `across`: also pairs that lie on two rows."""
        rows, columns = ([taps == self.kernel[axis] for taps in self.inside(size, axis)] for axis in (0, 1))
        count = len(columns)
        # In a row whose first window begins a pair, and in one whose second window does.
        on_row = [sum(columns[c] and columns[c + 1] for c in range(first, count - 1, 2)) for first in (0, 1)]
        found = sum(on_row[row * count % 2] for row, whole in enumerate(rows) if whole)
        if across and count % 2 and columns[0] and columns[-1]:
            found += sum(rows[row] and rows[row + 1] for row in range(0, len(rows) - 1, 2))
        return found
