"""The planner: turns a problem into a plan (order and addresses) and verifies that no two live buffers overlap."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsemod.arena.offsets import Block, place
from sparsemod.arena.order import STATES, best_order
from sparsemod.arena.problem import BufferProblem, Moment, timeline
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
    moments = timeline(problem, order)
    highest = max((m.bytes for m in moments), default=problem.given)
    blocks = _blocks(problem, order)
    addresses = place(blocks, highest)
    scratches = {problem.steps[i].name for i in order if problem.steps[i].scratch}
    offsets: dict[str, int] = {}
    scratch: dict[str, int] = {}
    for block, address in zip(blocks, addresses, strict=True):
        for name in block.names:
            if name.startswith(_SCRATCH) and name.removeprefix(_SCRATCH) in scratches:
                scratch[name.removeprefix(_SCRATCH)] = address
            else:
                offsets[name] = address
    _verify(blocks, addresses)
    size = max(a + b.size for a, b in zip(addresses, blocks, strict=True))
    return BufferPlan(order, offsets, scratch, size, highest, exact, moments)


_SCRATCH = "\0scratch of "  # no tensor's name begins with this prefix


def _blocks(problem: BufferProblem, order: tuple[int, ...]) -> list[Block]:
    place_of = {index: position for position, index in enumerate(order)}

    def last(name: str, first: int) -> int:
        readers = problem.readers(name)
        return max((place_of[i] for i in order if readers >> i & 1), default=first)

    blocks = [Block([name], [(0, last(name, 0), problem.sizes[name])]) for name in problem.sources]
    block_of, done = dict(zip(problem.sources, blocks, strict=True)), 0
    for position, index in enumerate(order):
        step = problem.steps[index]
        if step.scratch:
            blocks.append(Block([_SCRATCH + step.name], [(position, position, step.scratch)]))
        if step.writes is not None:
            reused = problem.reused_buffer(index, done)
            if reused is None:
                block = Block([])
                blocks.append(block)
            else:
                block = block_of[reused]
            block.names.append(step.writes)
            block.parts.append((position, last(step.writes, position), problem.sizes[step.writes]))
            block_of[step.writes] = block
        done |= 1 << index
    return blocks


def _verify(blocks: list[Block], addresses: list[int]) -> None:
    for i, (a, start) in enumerate(zip(blocks, addresses, strict=True)):
        for b, other_start in zip(blocks[:i], addresses[:i], strict=True):
            for size, other_size in a.clashes(b):
                if start < other_start + other_size and other_start < start + size:
                    raise SparsemodError(
                        f"arena plan: {a.names} and {b.names} overlap"
                    )  # a bug in the planner
