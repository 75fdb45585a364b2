"""The planner's input: buffers of bytes, and steps that read and write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparsemod.errors import InvalidInput


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    `reads` and `writes` name buffers (`writes` is None when the result goes to the caller's memory). `in_place`
    names the buffers of `reads` whose bytes the result may take over if no later step reads them. The step needs
    `scratch` bytes while it runs.
    """

    name: str
    reads: tuple[str, ...]
    writes: str | None
    in_place: tuple[str, ...] = ()
    scratch: int = 0


@dataclass(frozen=True)
class BufferProblem:
    """A planning problem: `sizes` of all buffers in bytes, and `steps` in a valid order.

    The buffers `sources`, the network's inputs, exist before the first step. They are never overwritten while needed, nor reused in
    place. A buffer of 0 bytes lies in the caller's memory.

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

    def reused_buffer(self, index: int, done: int) -> str | None:
        """Return the buffer that step `index` reuses once the steps in the mask `done` have run; None for a new buffer."""
        step = self.steps[index]
        if step.writes is None:
            return None
        done |= 1 << index
        for name in step.in_place:
            free = not self._masks[name] & ~done and name not in self.sources
            if free and self.sizes[step.writes] <= self.sizes[name]:
                return name
        return None


@dataclass(frozen=True)
class Moment:
    """Live memory while `step` runs: total `bytes`, of `buffers` (one name per buffer) and scratch."""

    step: str
    bytes: int
    buffers: tuple[str, ...]
    scratch: int


def timeline(problem: BufferProblem, order: Sequence[int]) -> tuple[Moment, ...]:
    """Return one moment per step in this order; a buffer reused in place counts once."""
    moments, done = [], 0
    alive = set(problem.sources)
    for index in order:
        step = problem.steps[index]
        reused = problem.reused_buffer(index, done)
        during = set(alive) | ({step.writes} if step.writes is not None and reused is None else set())
        total = sum(problem.sizes[name] for name in during) + step.scratch
        moments.append(Moment(step.name, total, tuple(sorted(during)), step.scratch))
        done |= 1 << index
        if step.writes is not None:
            alive.add(step.writes)
        alive = {name for name in alive if problem.readers(name) & ~done}
    return tuple(moments)


def peak(problem: BufferProblem, order: Sequence[int]) -> int:
    """Return the largest number of bytes alive together, a lower bound of any arena in this order."""
    return max((m.bytes for m in timeline(problem, order)), default=problem.given)
