"""The planner's input: buffers of bytes, and steps that read and write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparsemod.errors import InvalidInput


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    `reads` and `writes` name buffers (`writes` is None when the result goes to the caller's memory). `overlaps` has the buffers of
    `reads` whose bytes the result may overwrite if no later step reads them, and by how many bytes the result must then begin before
    the buffer; 0 is work in place. The step needs `scratch` bytes while it runs.
    """

    name: str
    reads: tuple[str, ...]
    writes: str | None
    overlaps: Mapping[str, int] = field(default_factory=dict)
    scratch: int = 0


@dataclass(frozen=True)
class Overlap:
    """The result of a step begins `distance` bytes before the buffer `name`, and overwrites it. Together they need `growth` bytes
    more than the buffer alone."""

    name: str
    distance: int
    growth: int


@dataclass(frozen=True)
class BufferProblem:
    """A planning problem: `sizes` of all buffers in bytes, and `steps` in a valid order.

    The buffers `sources`, the network's inputs, exist before the first step. A buffer of 0 bytes lies in the caller's memory.

    Raises InvalidInput when a step reads a buffer that no earlier step writes, or writes a buffer a second time.
    """

    sizes: Mapping[str, int]
    steps: tuple[Step, ...]
    sources: tuple[str, ...]
    _masks: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        available = set(self.sources)
        for step in self.steps:
            missing = [name for name in step.reads if name not in available]
            if missing or step.writes in available:
                raise InvalidInput(
                    f"step {step.name!r}",
                    (step.reads, step.writes),
                    "reads existing buffers, writes a new one",
                )
            if step.writes is not None:
                available.add(step.writes)
        if available != set(self.sizes):
            raise InvalidInput("sizes", sorted(self.sizes), f"exactly the buffers: {sorted(available)}")
        masks = dict.fromkeys(self.sizes, 0)
        for index, step in enumerate(self.steps):
            for name in step.reads:
                masks[name] |= 1 << index
        object.__setattr__(self, "_masks", masks)

    @property
    def given(self) -> int:
        """Return the bytes that are alive before the first step: those of the inputs."""
        return sum(self.sizes[name] for name in self.sources)

    def readers(self, name: str) -> int:
        """Return the steps that read a buffer, as a bit mask."""
        return self._masks[name]

    def overlap(self, index: int, done: int) -> Overlap | None:
        """Return what the result of step `index` may overwrite once the steps in the mask `done` have run, with the fewest further
        bytes; None when nothing saves memory."""
        step = self.steps[index]
        if step.writes is None:
            return None
        return least_growth(self, step.overlaps, self.sizes[step.writes], done | 1 << index)


def least_growth(problem: BufferProblem, overlaps: Mapping[str, int], size: int, done: int) -> Overlap | None:
    """Return what a result of `size` bytes may overwrite once the steps in the mask `done` have run, of the buffers and distances in
    `overlaps`, with the fewest further bytes; None when nothing saves memory."""
    found = None
    for name, distance in overlaps.items():
        given = problem.sizes[name]
        if problem.readers(name) & ~done or (distance == 0 and size > given):
            continue
        growth = max(distance, size - given)
        if growth < size and (found is None or growth < found.growth):
            found = Overlap(name, distance, growth)
    return found


@dataclass(frozen=True)
class Moment:
    """Live memory while `step` runs: total `bytes`, of `buffers` and scratch. `overlap`: what the step's result overwrites."""

    step: str
    bytes: int
    buffers: tuple[str, ...]
    scratch: int
    overlap: Overlap | None = None


def timeline(problem: BufferProblem, order: Sequence[int], limit: int = 0) -> tuple[Moment, ...]:
    """Return one moment per step in this order. Results overwrite buffers in place wherever they can, and otherwise only where the
    step would need more than `limit` bytes without it."""
    moments, done = [], 0
    alive = set(problem.sources)
    for index in order:
        step = problem.steps[index]
        size = 0 if step.writes is None else problem.sizes[step.writes]
        held = sum(problem.sizes[name] for name in alive) + step.scratch
        overlap = problem.overlap(index, done)
        if overlap is not None and overlap.distance and held + size <= limit:
            overlap = None
        during = alive if step.writes is None else alive | {step.writes}
        total = held + (size if overlap is None else overlap.growth)
        moments.append(Moment(step.name, total, tuple(sorted(during)), step.scratch, overlap))
        done |= 1 << index
        alive = {name for name in during if problem.readers(name) & ~done}
    return tuple(moments)


def peak(problem: BufferProblem, order: Sequence[int]) -> int:
    """Return the largest number of bytes alive together, a lower bound of any arena in this order."""
    return max((m.bytes for m in timeline(problem, order)), default=problem.given)
