"""The search for layers that run together (see `sparsemod.arena.chains`).

In a given order of the layers, a plan cuts the order into single layers and chains. Each piece needs the bytes of the tensors that are
alive beside it, of its result as far as it overwrites no input, and of its scratch or rows. Dynamic programming over the places between
layers finds the plan whose most demanding piece needs the least, and the cheapest plan under a limit. (msf-CNN, Huang et al., 2025,
searches the same graph of settings for patches.) Only chains with a layer above the limit, or above the best peak so far, are
considered: no other one could help.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from sparsemod.arena.chains import Chain, Fused, chain
from sparsemod.arena.nodes import Layout, apart_from
from sparsemod.arena.problem import BufferProblem, least_growth, timeline
from sparsemod.layouts import Tensors

LONGEST = 8
"""Layers of a chain, at most."""

ROWS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Rows of the last layer's output at a time."""

Cost = Callable[[Chain], float]
"""Instructions (or anything else to be kept small) of a chain beyond those of its layers one by one."""


@dataclass(frozen=True)
class Setting:
    """Chains, their `cost`, and the `peak` in bytes that they need in the given order."""

    fused: tuple[Fused, ...]
    cost: float
    peak: int


@dataclass(frozen=True)
class _Piece:
    need: int
    cost: float
    fused: Fused | None


@dataclass
class Fusions:
    """The chains of a network without chains: `layout`, of `tensors`, with the outputs `results`, for the kernels of `core`."""

    layout: Layout
    tensors: Tensors
    results: Collection[str]
    core: str
    cost: Cost
    _pieces: dict[tuple[int, int], tuple[_Piece, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem, nodes = self.layout.problem, self.layout.nodes
        self._singles = [moment.bytes for moment in timeline(problem, range(len(nodes)))]
        self._alive = [_alive(problem, index) for index in range(len(nodes))]
        self._read_by = {
            name: [node.name for node in nodes if name in node.inputs]
            for node in nodes
            for name in node.inputs
        }

    def least(self) -> Setting:
        """Return the setting with the lowest peak, of these the cheapest one."""
        highest = max(self._singles, default=0)
        found = Setting((), 0.0, highest)
        while True:
            peak = min(self._peaks(found.peak), default=found.peak)
            better = self._cheapest(peak, found.peak) if peak < found.peak else None
            if better is None:
                return found
            found = better

    def within(self, limit: float) -> Setting | None:
        """Return the cheapest setting whose peak is at most `limit` bytes; None without one."""
        return self._cheapest(limit, limit)

    def _peaks(self, bound: int) -> Iterator[int]:
        """Yield the lowest peak of all settings with chains of layers that need `bound` bytes or more."""
        count = len(self._singles)
        best = [0, *[math.inf] * count]
        for end in range(1, count + 1):
            for start in range(max(0, end - LONGEST), end):
                for piece in self._between(start, end, bound):
                    best[end] = min(best[end], max(best[start], piece.need))
        if best[count] < math.inf:
            yield int(best[count])

    def _cheapest(self, limit: float, bound: float) -> Setting | None:
        count = len(self._singles)
        best: list[tuple[float, int, tuple[Fused, ...]] | None] = [(0.0, 0, ()), *[None] * count]
        for end in range(1, count + 1):
            for start in range(max(0, end - LONGEST), end):
                before = best[start]
                if before is None:
                    continue
                for piece in self._between(start, end, bound):
                    if piece.need > limit:
                        continue
                    fused = before[2] if piece.fused is None else (*before[2], piece.fused)
                    reached = (before[0] + piece.cost, max(before[1], piece.need), fused)
                    now = best[end]
                    if now is None or reached[:2] < now[:2]:
                        best[end] = reached
        last = best[count]
        return None if last is None else Setting(last[2], last[0], last[1])

    def _between(self, start: int, end: int, bound: float) -> Sequence[_Piece]:
        """Return the pieces of the layers from `start` to `end`: one layer, or chains if one of their layers needs `bound` bytes."""
        if end == start + 1:
            return (_Piece(self._singles[start], 0.0, None),)
        if max(self._singles[start:end]) < bound:
            return ()
        key = start, end
        if key not in self._pieces:
            self._pieces[key] = tuple(self._chains(start, end))
        return self._pieces[key]

    def _chains(self, start: int, end: int) -> Iterator[_Piece]:
        nodes = self.layout.nodes[start:end]
        if not apart_from(nodes, self._read_by, self.results):
            return
        highest = max(self._singles[start:end])
        for rows in ROWS:
            found = chain(nodes, self.tensors, rows, self.core)
            if found is None or self._alive[start] + found.scratch >= highest:
                continue
            need = self._alive[start] + found.scratch + self._growth(found, start, end)
            if need < highest:
                yield _Piece(need, self.cost(found), found.fused)

    def _growth(self, found: Chain, start: int, end: int) -> int:
        """Return the bytes that a chain's result needs beside its inputs."""
        buffer_of, outside = self.layout.buffer_of, self.layout.outside
        made = buffer_of[found.output]
        size = self.layout.problem.sizes.get(made, 0)
        if made in outside:
            return size
        distances: dict[str, int] = {}
        for name, distance in found.distances.items():
            if buffer_of[name] not in outside:
                distances[buffer_of[name]] = max(distance, distances.get(buffer_of[name], 0))
        overlap = least_growth(self.layout.problem, distances, size, (1 << end) - 1)
        return size if overlap is None else overlap.growth


def _alive(problem: BufferProblem, index: int) -> int:
    """Return the bytes that are alive before step `index` and read by it or a later one."""
    made = {*problem.sources, *(step.writes for step in problem.steps[:index] if step.writes)}
    return sum(problem.sizes[name] for name in made if problem.readers(name) >> index)
