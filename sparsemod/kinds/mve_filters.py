"""The loops over the filters and taps of a window, for cores with Helium (MVE). A vector has 16 bytes: 16 taps of one filter."""

from dataclasses import dataclass
from functools import cached_property

LANES = 16
_UNROLLED = 9  # at most this many vectors are written out; longer sums are loops
_LONGEST = 6  # vectors of one turn of a loop


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


def mve_linear(taps: int, outputs: int) -> Filters:
    """Return the loops of a matrix times a vector."""
    return Filters(Sums(1, taps), outputs, pair=False)
