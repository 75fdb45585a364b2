"""How a window moves over the positions of an image: the geometry that capture, memory, costs and exporters share."""

from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """`kernel`, `stride` and `dilation` are (rows, columns), `padding` is (top, bottom, left, right).

    `groups` of channels are worked on apart. With `ceil`, a last window may reach beyond input and padding.
    """

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    ceil: bool = False

    @property
    def pointwise(self) -> bool:
        """Whether the input itself is the window."""
        return self.kernel == (1, 1) and not any(self.padding) and self.groups == 1

    def depthwise(self, channels: int, outputs: int) -> bool:
        """Whether each channel has one filter of its own."""
        return self.groups == channels == outputs and self.groups > 1

    def around(self, axis: int) -> Pair:
        """Padding (before, after) along an axis: 0 rows, 1 columns."""
        return self.padding[2 * axis], self.padding[2 * axis + 1]

    def room(self, size: Pair, axis: int) -> int:
        """Places that the first window may move by along an axis of an input with these rows and columns; negative: it does not fit."""
        return size[axis] + sum(self.around(axis)) - self.dilation[axis] * (self.kernel[axis] - 1) - 1

    def counts(self, size: Pair) -> Pair:
        """Rows and columns of the output; not positive where the window does not fit. With `ceil`, a last window that would begin beyond
        the input and its leading padding is left out."""
        found = []
        for axis in (0, 1):
            stride = self.stride[axis]
            count = (self.room(size, axis) + (stride - 1 if self.ceil else 0)) // stride + 1
            if self.ceil and (count - 1) * stride >= size[axis] + self.around(axis)[0]:
                count -= 1
            found.append(count)
        return found[0], found[1]

    def beyond(self, size: Pair) -> Pair:
        """Rows and columns by which the last window reaches beyond input and stated padding: `ceil` allows it."""
        counts = self.counts(size)

        def along(axis: int) -> int:
            end = (counts[axis] - 1) * self.stride[axis] + self.dilation[axis] * (self.kernel[axis] - 1) + 1
            return max(0, end - size[axis] - sum(self.around(axis)))

        return along(0), along(1)

    def inside(self, size: Pair, axis: int) -> tuple[int, ...]:
        """For each output along an axis, the taps of its window that lie inside the input."""
        before, step, apart = self.around(axis)[0], self.stride[axis], self.dilation[axis]
        return tuple(
            sum(0 <= place * step - before + tap * apart < size[axis] for tap in range(self.kernel[axis]))
            for place in range(self.counts(size)[axis])
        )
