"""The planner: turns a problem into a plan (order and addresses) and verifies that no two live buffers overlap."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsemod.arena.offsets import Block, Part, place
from sparsemod.arena.order import STATES, best_order
from sparsemod.arena.problem import BufferProblem, Moment, peak, timeline
from sparsemod.errors import SparsemodError


@dataclass(frozen=True)
class BufferPlan:
    """`offsets` of buffers and `scratch` of steps in an arena of `size` bytes, steps run in `order` (indices).

    `peak` is the largest number of bytes alive together in that order; size - peak bytes are lost to fragmentation.
    `exact` is true when no order has a lower peak. `timeline` has one moment per step, in order.
    """

    order: tuple[int, ...]
    offsets: Mapping[str, int]
    scratch: Mapping[str, int]
    size: int
    peak: int
    exact: bool
    timeline: tuple[Moment, ...]

    @property
    def lost(self) -> int:
        """Bytes lost to fragmentation."""
        return self.size - self.peak


def plan(problem: BufferProblem, states: int = STATES) -> BufferPlan:
    """Return the plan with the lowest peak that the order search finds (see `best_order`), with addresses."""
    order, exact = best_order(problem, states)
    highest = peak(problem, order)
    moments, blocks, addresses = _placed(problem, order, highest)
    scratches = {problem.steps[i].name for i in order if problem.steps[i].scratch}
    offsets: dict[str, int] = {}
    scratch: dict[str, int] = {}
    for block, address in zip(blocks, addresses, strict=True):
        for name, part in zip(block.names, block.parts, strict=True):
            if name.startswith(_SCRATCH) and name.removeprefix(_SCRATCH) in scratches:
                scratch[name.removeprefix(_SCRATCH)] = address + part.start
            else:
                offsets[name] = address + part.start
    _verify(blocks, addresses)
    size = max(a + b.size for a, b in zip(addresses, blocks, strict=True))
    return BufferPlan(order, offsets, scratch, size, highest, exact, moments)


_SCRATCH = "\0scratch of "  # no tensor's name begins with this prefix


def _placed(
    problem: BufferProblem, order: tuple[int, ...], highest: int
) -> tuple[tuple[Moment, ...], list[Block], list[int]]:
    """Return the moments, blocks and addresses of the smallest arena found.

    Buffers that overlap lie at fixed distances from each other, which can cost more between the blocks than it saves. So the plan
    also tries to overlap only where a step would otherwise need more than a limit, for several limits.
    """
    found: list[tuple[int, tuple[Moment, ...], list[Block], list[int]]] = []
    for limit in (
        highest,
        0,
        *(highest + highest * part // 64 for part in (1, 2, 4, 8, 16)),
        sum(problem.sizes.values()),
    ):
        moments = timeline(problem, order, limit)
        if any(moments == each[1] for each in found):
            continue
        blocks = _blocks(problem, order, moments)
        addresses = place(blocks, highest)
        size = max(a + b.size for a, b in zip(addresses, blocks, strict=True))
        found.append((size, moments, blocks, addresses))
        if size <= highest:
            break
    return min(found, key=lambda each: each[0])[1:]


def _blocks(problem: BufferProblem, order: tuple[int, ...], moments: tuple[Moment, ...]) -> list[Block]:
    place_of = {index: position for position, index in enumerate(order)}

    def last(name: str, first: int) -> int:
        readers = problem.readers(name)
        return max((place_of[i] for i in order if readers >> i & 1), default=first)

    blocks = [Block([name], [Part(0, last(name, 0), 0, problem.sizes[name])]) for name in problem.sources]
    block_of = dict(zip(problem.sources, blocks, strict=True))
    for position, (index, moment) in enumerate(zip(order, moments, strict=True)):
        step = problem.steps[index]
        if step.scratch:
            blocks.append(Block([_SCRATCH + step.name], [Part(position, position, 0, step.scratch)]))
        if step.writes is not None:
            block, start = Block(), 0
            if moment.overlap is None:
                blocks.append(block)
            else:
                block = block_of[moment.overlap.name]
                start = block.part(moment.overlap.name).start - moment.overlap.distance
            end = start + problem.sizes[step.writes]
            block.add(step.writes, Part(position, last(step.writes, position), start, end))
            block_of[step.writes] = block
    for block in blocks:
        block.begin_at_zero()
    return blocks


def _verify(blocks: list[Block], addresses: list[int]) -> None:
    for i, (a, start) in enumerate(zip(blocks, addresses, strict=True)):
        for b, other_start in zip(blocks[:i], addresses[:i], strict=True):
            for low, high in a.clashes(b):
                if low < start - other_start < high:
                    raise SparsemodError(
                        f"arena plan: {a.names} and {b.names} overlap"
                    )  # a bug in the planner
