"""Address assignment: pack blocks with lifetimes into the smallest arena that the search finds.

A block is a chain of buffers, each of which overwrites the previous one, at fixed distances. Blocks are placed one after
another at the lowest free address. Some sequence of blocks gives an optimal packing. The search tries several
sequences (largest first, longest first, ...). While fragmentation remains, it then tries all sequences, up to a limit of
attempts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

ATTEMPTS = 2_000
BLOCKS = 100  # with more blocks, the attempts cover almost none of the sequences

Clashes = list[tuple[int, int]]


@dataclass(frozen=True)
class Part:
    """A buffer in a block: alive from step `first` to step `last`, in the bytes from `start` to before `end`."""

    first: int
    last: int
    start: int
    end: int


@dataclass
class Block:
    """Buffers at fixed distances from each other, with their parts."""

    names: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def add(self, name: str, part: Part) -> None:
        """Add a buffer."""
        self.names.append(name)
        self.parts.append(part)

    def part(self, name: str) -> Part:
        """Return the part of a buffer."""
        return self.parts[self.names.index(name)]

    def begin_at_zero(self) -> None:
        """Move all parts by the same distance, so that the lowest one begins at 0."""
        lowest = min(part.start for part in self.parts)
        self.parts = [replace(part, start=part.start - lowest, end=part.end - lowest) for part in self.parts]

    @property
    def size(self) -> int:
        """The block's bytes."""
        return max(part.end for part in self.parts)

    @property
    def first(self) -> int:
        """The first step at which the block is alive."""
        return min(part.first for part in self.parts)

    @property
    def steps(self) -> int:
        """Length of the block's lifetime in steps."""
        return max(part.last for part in self.parts) - self.first + 1

    def clashes(self, other: "Block") -> Clashes:
        """Return the open ranges of (this block's address - the other one's) for which parts that are alive together overlap."""
        return [
            (theirs.start - mine.end, theirs.end - mine.start)
            for mine in self.parts
            for theirs in other.parts
            if mine.first <= theirs.last and theirs.first <= mine.last
        ]


def place(blocks: Sequence[Block], least: int) -> list[int]:
    """Return an address for each block. `least` is a lower bound of the arena's size: the search stops when it reaches the bound."""
    clashes = _all_clashes(blocks)
    keys: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-blocks[i].size, blocks[i].first),
        lambda i: (-blocks[i].size * blocks[i].steps, blocks[i].first),
        lambda i: (-blocks[i].steps, -blocks[i].size),
        lambda i: (blocks[i].first, -blocks[i].size),
    )
    best: list[int] = []
    for key in keys:
        offsets = _in_sequence(blocks, clashes, sorted(range(len(blocks)), key=key))
        if not best or _end(blocks, offsets) < _end(blocks, best):
            best = offsets
        if _end(blocks, best) <= least:
            return best
    return _all_sequences(blocks, clashes, least, best) if len(blocks) <= BLOCKS else best


def _all_clashes(blocks: Sequence[Block]) -> list[list[Clashes]]:
    """Return the clashes of each block with each other one. Those of (b, a) are those of (a, b) with the sign changed."""
    found: list[list[Clashes]] = [[[] for _ in blocks] for _ in blocks]
    for i, block in enumerate(blocks):
        for j in range(i):
            found[i][j] = block.clashes(blocks[j])
            found[j][i] = [(-high, -low) for low, high in found[i][j]]
    return found


def _in_sequence(blocks: Sequence[Block], clashes: list[list[Clashes]], sequence: Sequence[int]) -> list[int]:
    offsets: dict[int, int] = {}
    for index in sequence:
        offsets[index] = _lowest(clashes[index], offsets)
    return [offsets[index] for index in range(len(blocks))]


def _lowest(clashes: list[Clashes], offsets: dict[int, int]) -> int:
    """Return the lowest address that does not overlap a placed block."""
    occupied = sorted(
        (offset + low + 1, offset + high) for other, offset in offsets.items() for low, high in clashes[other]
    )
    address = 0
    for start, end in occupied:
        if start <= address < end:
            address = end
    return address


def _end(blocks: Sequence[Block], offsets: Sequence[int]) -> int:
    return max((offset + block.size for offset, block in zip(offsets, blocks, strict=True)), default=0)


def _all_sequences(
    blocks: Sequence[Block], clashes: list[list[Clashes]], least: int, best: list[int]
) -> list[int]:
    left, lowest = ATTEMPTS, _end(blocks, best)

    def descend(offsets: dict[int, int], rest: list[int]) -> None:
        nonlocal left, lowest, best
        if not rest:
            best = [offsets[index] for index in range(len(blocks))]
            lowest = _end(blocks, best)
            return
        for index in rest:
            if left <= 0 or lowest <= least:
                return
            left -= 1
            address = _lowest(clashes[index], offsets)
            if address + blocks[index].size < lowest:
                descend({**offsets, index: address}, [other for other in rest if other != index])

    descend({}, sorted(range(len(blocks)), key=lambda i: (-blocks[i].size, blocks[i].first)))
    return best
