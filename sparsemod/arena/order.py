"""Search for the execution order with the lowest peak.

The set of live buffers depends only on which steps have finished, not on their order. So the lowest peak is a minimax
path over the sets of finished steps, and a best-first search finds it exactly (Kahn and Liu, "Sequencing of tasks to
minimize memory", 1987, study such orders on trees). Beyond STATES sets the search keeps the best WIDTH sets of each
length instead. It never returns an order that is worse than the given one.
"""

import heapq

from sparsemod.arena.problem import BufferProblem, peak

STATES = 5_000
WIDTH = 64


def best_order(problem: BufferProblem, states: int = STATES) -> tuple[tuple[int, ...], bool]:
    """Return (order of the steps by index, whether its peak is proven to be the lowest). Ties keep the given order."""
    default_order = tuple(range(len(problem.steps)))
    highest = peak(problem, default_order)
    if highest == _lower_bound(problem):
        return default_order, True
    exact_order = _exact(problem, states)
    exact = exact_order is not None
    order = exact_order if exact_order is not None else _beam(problem)
    return (order, exact) if peak(problem, order) < highest else (default_order, exact)


def _lower_bound(problem: BufferProblem) -> int:
    """Return a lower bound of the peak: the bytes of the most demanding step."""
    needs = [problem.given]
    everything = (1 << len(problem.steps)) - 1
    for index, step in enumerate(problem.steps):
        live = sum(problem.sizes[name] for name in set(step.reads)) + step.scratch
        needs.append(
            live + _growth(problem, everything, index)
        )  # after all others, a step overlaps what it can
    return max(needs)


def _growth(problem: BufferProblem, done: int, index: int) -> int:
    """Return the bytes that step `index` needs for its result besides those of the live buffers."""
    overlap = problem.overlap(index, done)
    if overlap is not None:
        return overlap.growth
    made = problem.steps[index].writes
    return 0 if made is None else problem.sizes[made]


def _dependencies(problem: BufferProblem) -> list[int]:
    """Return, for each step, the mask of the steps that it depends on directly."""
    makers = {step.writes: index for index, step in enumerate(problem.steps) if step.writes is not None}
    return [sum({1 << makers[name] for name in step.reads if name in makers}) for step in problem.steps]


def _live_bytes(problem: BufferProblem, done: int, index: int, live: int) -> tuple[int, int]:
    """Return (live bytes while step `index` runs, live bytes afterwards); `live` bytes are alive before it."""
    step = problem.steps[index]
    written = 0 if step.writes is None else problem.sizes[step.writes]
    during = live + step.scratch + _growth(problem, done, index)
    done |= 1 << index
    freed = sum(problem.sizes[name] for name in set(step.reads) if not problem.readers(name) & ~done)
    unread = step.writes is not None and not problem.readers(step.writes)
    return during, live + (0 if unread else written) - freed


def _exact(problem: BufferProblem, limit: int) -> tuple[int, ...] | None:
    before, count = _dependencies(problem), len(problem.steps)
    start = (problem.given, 0, (), 0, problem.given)
    queue: list[tuple[int, int, tuple[int, ...], int, int]] = [start]
    seen: set[int] = set()
    while queue:
        highest, negative_count, order, done, live = heapq.heappop(queue)
        if len(order) == count:
            return order
        if done in seen:
            continue
        seen.add(done)
        if len(seen) > limit:
            return None
        for index in range(count):
            if not done >> index & 1 and not before[index] & ~done:
                during, after = _live_bytes(problem, done, index, live)
                reached = (
                    max(highest, during),
                    negative_count - 1,
                    (*order, index),
                    done | 1 << index,
                    after,
                )
                heapq.heappush(queue, reached)
    return None


def _beam(problem: BufferProblem) -> tuple[int, ...]:
    before, count = _dependencies(problem), len(problem.steps)
    size = problem.given
    level: dict[int, tuple[int, int, tuple[int, ...]]] = {0: (size, size, ())}
    for _ in range(count):
        following: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        for done, (highest, live, order) in level.items():
            for index in range(count):
                if not done >> index & 1 and not before[index] & ~done:
                    during, after = _live_bytes(problem, done, index, live)
                    reached = (max(highest, during), after, (*order, index))
                    key = done | 1 << index
                    following[key] = min(following.get(key, reached), reached)
        level = dict(sorted(following.items(), key=lambda item: item[1])[:WIDTH])
    return next(iter(level.values()))[2]
