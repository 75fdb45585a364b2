"""Counts of windows, against every window."""

import itertools

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sparsemod.kinds.windows import Window

PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))
PADDING = st.tuples(*[st.integers(0, 3)] * 4)


@settings(deadline=None, max_examples=200)
@given(
    PAIRS, PAIRS, PADDING, st.tuples(st.integers(1, 12), st.integers(1, 12)), st.sampled_from([False, True])
)
def test_whole_pairs(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    size: tuple[int, int],
    across: bool,
) -> None:
    window = Window(kernel, stride, padding)
    made = window.counts(size)
    assume(min(made) > 0)

    def whole(place: tuple[int, int]) -> bool:
        first = [n * s - p for n, s, p in zip(place, stride, padding[::2], strict=True)]
        return all(f >= 0 and f + k <= n for f, k, n in zip(first, kernel, size, strict=True))

    places = list(itertools.product(range(made[0]), range(made[1])))
    pairs = [
        pair
        for pair in zip(places[::2], places[1::2], strict=False)
        if all(map(whole, pair)) and (across or pair[0][0] == pair[1][0])
    ]
    assert window.whole_pairs(size, across=across) == len(pairs)
