"""Match the layers of a child to the layers of its parent: a minimum-cost alignment of two sequences."""

from collections.abc import Callable

Pairs = list[tuple[int | None, int | None]]
"""(parent's index, child's index) in order: (i, None) for a removed item, (None, j) for a new one."""


def align(
    parents: int,
    children: int,
    match: Callable[[int, int], float | None],
    remove: Callable[[int, int], float],
    insert: Callable[[int, int], float],
) -> Pairs:
    """Return the cheapest order-preserving assignment of `parents` to `children` items.

    `match(i, j)`: cost of deriving child j from parent i, None if impossible. `remove(i, j)`: cost of
    dropping parent i. `insert(i, j)`: cost of adding child j. All come after i parents and j children. Of
    equal costs, a match wins.
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
        action = step[i][j]
        pairs.append((i if action != "insert" else None, j if action != "remove" else None))
        i += action != "insert"
        j += action != "remove"
    return pairs
