"""How far the output of a windowed kernel must begin before the input that it overwrites, against a simulation of each kernel's order."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sparsemod.arena import MEMORY, Memory, Node
from sparsemod.kinds.dsp import DspConv, dsp_loops
from sparsemod.kinds.dsp_depthwise import DspDepthwise
from sparsemod.kinds.mve import MveConv, mve_loops
from sparsemod.kinds.mve_depthwise import MveDepthwise
from sparsemod.kinds.v6m import V6mConv, v6m_loops
from sparsemod.kinds.v6m_depthwise import V6mDepthwise
from sparsemod.kinds.windows import Window
from sparsemod.layouts import Tensors

Access = tuple[str, int]  # ("read" or "write", element)


@st.composite
def windows(draw: st.DrawFn, largest: int = 6) -> tuple[Window, tuple[int, int]]:
    """A window and the size of an image in which it fits, of at most `largest` rows and columns."""
    small = st.integers(1, 3)
    size = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(4))
    window = Window(
        (draw(small), draw(small)), (draw(small), draw(small)), padding, (draw(small), draw(small))
    )  # type: ignore[arg-type]
    assume(min(window.counts(size)) > 0)
    return window, size


def memory_of(
    kind: str, window: Window, channels: int, outputs: int, size: tuple[int, int]
) -> tuple[Node, Tensors]:
    shapes = {"x": (channels, *size), "y": (outputs, *window.counts(size))}
    return Node("n", kind, ("x",), "y", window), Tensors(shapes, {})


def taps(window: Window, size: tuple[int, int], row: int, column: int) -> list[int]:
    """The positions of a window inside of the image."""
    rows = [
        row * window.stride[0] - window.padding[0] + i * window.dilation[0] for i in range(window.kernel[0])
    ]
    columns = [
        column * window.stride[1] - window.padding[2] + j * window.dilation[1]
        for j in range(window.kernel[1])
    ]
    return [r * size[1] + c for r in rows for c in columns if 0 <= r < size[0] and 0 <= c < size[1]]


def gathered(
    window: Window, channels: int, outputs: int, size: tuple[int, int], together: int
) -> Iterator[Access]:
    """All channels of `together` windows are read, then their outputs are written."""
    places = list(itertools.product(*map(range, window.counts(size))))
    for start in range(0, len(places), together):
        group = places[start : start + together]
        for place in group:
            for tap in taps(window, size, *place):
                yield from (("read", tap * channels + c) for c in range(channels))
        for number in range(start, start + len(group)):
            yield from (("write", number * outputs + o) for o in range(outputs))


def direct(window: Window, channels: int, outputs: int, size: tuple[int, int]) -> Iterator[Access]:
    """The window is read again for each output, as in nn_conv_1x1."""
    for number, place in enumerate(itertools.product(*map(range, window.counts(size)))):
        for output in range(outputs):
            for tap in taps(window, size, *place):
                yield from (("read", tap * channels + c) for c in range(channels))
            yield "write", number * outputs + output


def pairs(window: Window, channels: int, outputs: int, size: tuple[int, int]) -> Iterator[Access]:
    """Both windows of a pair are read again for each output, as in mve_conv.c; an odd last window joins the one before it."""
    places = list(itertools.product(*map(range, window.counts(size))))
    count = len(places)
    for start in range(0, count, 2):
        first = max(0, min(start, count - 2))
        both = range(first, min(count, first + 2))
        for output in range(outputs):
            for number in both:
                for tap in taps(window, size, *places[number]):
                    yield from (("read", tap * channels + c) for c in range(channels))
            yield from (("write", number * outputs + output) for number in both)


def channelwise(window: Window, channels: int, size: tuple[int, int]) -> Iterator[Access]:
    """Channel by channel at each position, as in nn_depthwise and in pooling."""
    for number, place in enumerate(itertools.product(*map(range, window.counts(size)))):
        for channel in range(channels):
            yield from (("read", tap * channels + channel) for tap in taps(window, size, *place))
            yield "write", number * channels + channel


def strips(loops: DspDepthwise) -> Iterator[Access]:
    """Channel after channel, strip after strip, as in dsp_depthwise.c."""
    window, (rows, columns) = loops.window, loops.made
    for channel, first in itertools.product(range(loops.channels), range(0, rows, loops.outputs)):
        count = min(loops.outputs, rows - first)
        for line in range(loops.kept if first else 0, count * window.stride[0] + loops.kept):
            row = first * window.stride[0] - window.padding[0] + line
            if 0 <= row < loops.size[0]:
                for column in range(loops.size[1]):
                    yield "read", (row * loops.size[1] + column) * loops.channels + channel
        for place in range(first * columns, (first + count) * columns):
            yield "write", place * loops.channels + channel


def row_pairs(loops: V6mDepthwise) -> Iterator[Access]:
    """Channel after channel, two rows of outputs after two, as in v6m_depthwise.c; the first words hold rows that come before."""
    window, (rows, columns) = loops.window, loops.made
    down = window.stride[0]
    for channel, first in itertools.product(range(loops.channels), range(0, rows, 2)):
        new = first * down - window.padding[0] + 3 - down
        for row in range(new if first else new - loops.new_rows, new + loops.new_rows):
            if 0 <= row < loops.size[0]:
                for column in range(loops.size[1]):
                    yield "read", (row * loops.size[1] + column) * loops.channels + channel
        for place in range(first * columns, min(first + 2, rows) * columns):
            yield "write", place * loops.channels + channel


def words(loops: MveDepthwise) -> Iterator[Access]:
    """Groups of rows, as in mve_depthwise.c, whose 16 channels at a time are one here; a last single row joins the one before it."""
    window, (rows, columns), row = loops.window, loops.made, 0
    while row < rows:
        groups = min((rows - row) // loops.down, loops.groups)
        first, count = (row, groups) if groups else (row - 1, 1)
        for channel in range(loops.channels):
            for line in range(count * 2 + loops.lines - 2):
                place = first * loops.stride - window.padding[0] + line
                if 0 <= place < loops.size[0]:
                    for column in range(loops.size[1]):
                        yield "read", (place * loops.size[1] + column) * loops.channels + channel
            for made in range(first * columns, (first + count * loops.down) * columns):
                yield "write", made * loops.channels + channel
        row = first + count * loops.down


def distance_of(memory: Memory) -> int:
    assert memory.overlap is not None
    return memory.overlap


def least_distance(accesses: Iterator[Access]) -> int:
    """The smallest distance for which no element is overwritten before its last read."""
    last_read: dict[int, int] = {}
    writes: list[tuple[int, int]] = []
    for time, (access, element) in enumerate(accesses):
        if access == "read":
            last_read[element] = time
        else:
            writes.append((time, element))
    distance = 0
    for element, time in last_read.items():
        early = [written for when, written in writes if when < time]
        distance = max(
            distance, max(early, default=-1) + 1 - element
        )  # elements below this one only come earlier
    return distance


def is_safe(accesses: Iterator[Access], distance: int) -> bool:
    overwritten: set[int] = set()
    for access, element in accesses:
        if access == "write":
            overwritten.add(element - distance)
        elif element in overwritten:
            return False
    return True


@settings(deadline=None, max_examples=150)
@given(windows(), st.integers(1, 3), st.integers(1, 4))
def test_convolutions_never_overwrite_what_they_still_read(
    drawn: tuple[Window, tuple[int, int]], channels: int, outputs: int
) -> None:
    window, size = drawn
    memory = MEMORY.rule("conv", "n")(*memory_of("conv", window, channels, outputs, size))
    assume(not window.depthwise(channels, outputs))
    plain = (
        direct(window, channels, outputs, size)
        if window.pointwise
        else gathered(window, channels, outputs, size, 1)
    )
    accesses = list(plain)
    assert memory.overlap is not None and is_safe(iter(accesses), memory.overlap)
    if not window.pointwise and not any(window.padding):
        assert memory.overlap <= max(0, least_distance(iter(accesses))), "no byte is kept without a reason"
    loops = dsp_loops(window, channels, outputs, size)
    if isinstance(loops, DspConv):
        assert is_safe(gathered(window, channels, outputs, size, 2), distance_of(memory.own["dsp"]))
        on_core = memory.overlap_on("cortex-m4")
        assert on_core is not None and is_safe(iter(accesses), on_core), "the plain kernel stands beside it"
    if isinstance(mve_loops(window, channels, outputs, size), MveConv):
        assert is_safe(pairs(window, channels, outputs, size), distance_of(memory.own["mve"]))
    if isinstance(v6m_loops(window, channels, outputs, size), V6mConv):
        assert is_safe(gathered(window, channels, outputs, size, 4), distance_of(memory.own["v6m"]))


@settings(deadline=None, max_examples=150)
@given(windows(), st.integers(2, 3))
def test_depthwise_kernels_and_pools_never_overwrite_what_they_still_read(
    drawn: tuple[Window, tuple[int, int]], channels: int
) -> None:
    window, size = drawn
    pool = MEMORY.rule("max_pool", "n")(*memory_of("max_pool", window, channels, channels, size))
    window = Window(window.kernel, window.stride, window.padding, window.dilation, channels)
    conv = MEMORY.rule("conv", "n")(*memory_of("conv", window, channels, channels, size))
    for memory in (pool, conv):
        assert memory.overlap is not None and is_safe(channelwise(window, channels, size), memory.overlap)
    loops = dsp_loops(window, channels, channels, size)
    if isinstance(loops, DspDepthwise):
        assert is_safe(strips(loops), distance_of(conv.own["dsp"]))
    vectors = mve_loops(window, channels, channels, size)
    if isinstance(vectors, MveDepthwise):
        assert is_safe(words(vectors), distance_of(conv.own["mve"]))
    rows = v6m_loops(window, channels, channels, size)
    if isinstance(rows, V6mDepthwise):
        assert is_safe(row_pairs(rows), distance_of(conv.own["v6m"]))


@pytest.mark.parametrize("rows", [9, 40])
def test_strips_of_one_channel_work_in_place(rows: int) -> None:
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), groups=4)
    loops = dsp_loops(window, 4, 4, (rows, 30))
    assert isinstance(loops, DspDepthwise) and loops.distance == 0
    assert loops.outputs < rows, "several strips"


def test_a_stated_distance_is_the_one_that_the_layer_needs() -> None:
    # 3 x 3, padding 1, on 8 x 8: a row and a position more than the position that is written
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), groups=4)
    assert MEMORY.rule("conv", "n")(*memory_of("conv", window, 4, 4, (8, 8))).overlap == (8 + 1) * 4
    # 1 x 1, 4 -> 16 channels: the last position is written when the input's last position is still read
    window = Window()
    assert MEMORY.rule("conv", "n")(*memory_of("conv", window, 4, 16, (8, 8))).overlap == 64 * 16 - 63 * 4
    assert MEMORY.rule("conv", "n")(*memory_of("conv", window, 16, 4, (8, 8))).overlap == 4
    assert MEMORY.rule("linear", "n")(*memory_of("linear", window, 4, 4, (1, 1))).overlap is None


@pytest.mark.parametrize(
    ("rows", "columns", "stride", "top", "beside"),
    list(itertools.product((2, 3, 7, 12, 13), (4, 40, 90), (1, 2), (0, 1, 2), (1, 2))),
)
def test_depthwise_kernels_of_a_layers_own(
    rows: int, columns: int, stride: int, top: int, beside: int
) -> None:
    window = Window((3, 3), (stride, stride), (top, 1, beside, beside), groups=3)
    if min(window.counts((rows, columns))) < 1:
        return
    memory = MEMORY.rule("conv", "n")(*memory_of("conv", window, 3, 3, (rows, columns)))
    narrow = dsp_loops(window, 3, 3, (rows, columns))
    vector = mve_loops(window, 3, 3, (rows, columns))
    assert isinstance(narrow, DspDepthwise) and is_safe(strips(narrow), distance_of(memory.own["dsp"]))
    if isinstance(vector, MveDepthwise):
        assert is_safe(words(vector), distance_of(memory.own["mve"]))
    loops = v6m_loops(window, 3, 3, (rows, columns))
    assert isinstance(loops, V6mDepthwise) and is_safe(row_pairs(loops), distance_of(memory.own["v6m"]))
    on_core = memory.overlap_on("cortex-m55")
    assert on_core is not None and is_safe(channelwise(window, 3, (rows, columns)), on_core)


def test_strips_of_wider_rows_begin_before_the_input() -> None:
    window = Window((3, 3), (1, 1), (2, 1, 2, 2), groups=3)
    loops = dsp_loops(window, 3, 3, (13, 90))
    assert isinstance(loops, DspDepthwise) and loops.outputs == 1, "several strips"
    # The strip of the 13th row of 92 outputs reads from the 13th row of 90 on; the next one reads no further row.
    assert loops.distance == 12 * 2
    assert is_safe(strips(loops), loops.distance * 3) and not is_safe(strips(loops), (loops.distance - 1) * 3)


def test_words_of_many_rows_are_computed_in_several_groups() -> None:
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), groups=64)
    loops = mve_loops(window, 64, 64, (25, 12))
    assert isinstance(loops, MveDepthwise) and 1 <= loops.groups < 12, "several groups, and a last single row"
    assert is_safe(words(loops), loops.distance * 64) and not is_safe(words(loops), (loops.distance - 1) * 64)


def every_position(
    window: Window, channels: int, outputs: int, size: tuple[int, int], together: int, direct: bool
) -> int:
    """The distance of all channels of a convolution, from every position that the kernel writes."""
    places = list(itertools.product(*map(range, window.counts(size))))
    corners = [
        [max(0, n * s - p) for n, s, p in zip(place, window.stride, window.padding[::2], strict=True)]
        for place in places
    ]
    firsts = [row * size[1] + column for row, column in corners]
    needed = 0
    for start in range(0, len(places), together):
        written = min(len(places), start + together)
        unread = min(firsts[max(0, written - together) if direct else written :], default=size[0] * size[1])
        if unread < size[0] * size[1]:
            needed = max(needed, written * outputs - unread * channels)
    return needed


@settings(deadline=None, max_examples=150)
@given(windows(largest=14), st.integers(1, 40), st.integers(1, 40))
def test_distances_are_those_of_all_positions(
    drawn: tuple[Window, tuple[int, int]], channels: int, outputs: int
) -> None:
    window, size = drawn
    memory = MEMORY.rule("conv", "n")(*memory_of("conv", window, channels, outputs, size))
    assert memory.overlap == every_position(window, channels, outputs, size, 1, window.pointwise)
    if "dsp" in memory.own:
        assert memory.own["dsp"].overlap == every_position(window, channels, outputs, size, 2, False)
    if "mve" in memory.own:
        assert memory.own["mve"].overlap == every_position(window, channels, outputs, size, 2, True)
    if "v6m" in memory.own:
        assert memory.own["v6m"].overlap == every_position(window, channels, outputs, size, 4, False)
