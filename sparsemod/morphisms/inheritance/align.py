"""Which layers of a parent the layers of a child go back to: an alignment of two sequences of least cost."""

from collections.abc import Callable

Pairs = list[tuple[int | None, int | None]]
"""(parent's place, child's place) in order; None on the child's side: removed, on the parent's: new."""


def align(
    parents: int,
    children: int,
    match: Callable[[int, int], float | None],
    remove: Callable[[int, int], float],
    insert: Callable[[int, int], float],
) -> Pairs:
    """The cheapest order-keeping assignment of `parents` to `children` items.

    `match(i, j)`: cost of child j coming from parent i, None where it cannot; `remove(i, j)`, `insert(i, j)`: of dropping parent i, of adding child
    j, when i parents and j children came before. Of equal costs, matching comes first.
    """
    best = [[0.0] * (children + 1) for _ in range(parents + 1)]
    step = [[""] * (children + 1) for _ in range(parents + 1)]
    for i in range(parents, -1, -1):
        for j in range(children, -1, -1):
            options: list[tuple[float, str]] = []
            if i < parents and j < children:
                cost = match(i, j)
                if cost is not None:
                    options.append((cost + best[i + 1][j + 1], "match"))
            if j < children:
                options.append((insert(i, j) + best[i][j + 1], "insert"))
            if i < parents:
                options.append((remove(i, j) + best[i + 1][j], "remove"))
            if options:
                best[i][j], step[i][j] = min(options, key=lambda option: option[0])
    pairs: Pairs = []
    i = j = 0
    while step[i][j]:
        taken = step[i][j]
        pairs.append((i if taken != "insert" else None, j if taken != "remove" else None))
        i += taken != "insert"
        j += taken != "remove"
    return pairs
