"""Means in steps: the mean over columns, then over rows, is one mean over all positions."""

import math
from collections.abc import Mapping
from dataclasses import replace

from sparsemod.graph.operators import Operator


def merge_means(
    operators: list[Operator], outputs: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]]
) -> list[Operator]:
    """Return the operators with one mean in place of a mean over one axis, a view, and a mean over the other one.

    Needs: nothing else reads the tensors between the two means. One mean rounds once, in the scale of its own output.
    """
    found = list(operators)
    for second in [o for o in operators if o.kind == "global_avg_pool"]:
        first = _source(found, second, outputs)
        if first is None or first.kind != "avg_pool" or not _one_axis(first, shapes):
            continue
        positions = math.prod(shapes[first.inputs[0]][1:])
        if positions != math.prod(first.window.kernel) * math.prod(shapes[second.inputs[0]][1:]):
            continue
        keep = bool(second.attributes["keep"]) and len(shapes[second.output]) == len(shapes[first.inputs[0]])
        if bool(second.attributes["keep"]) != keep:
            continue
        place = next(index for index, o in enumerate(found) if o.name == second.name)
        found[place] = replace(second, inputs=first.inputs)
        found = [o for o in found if o.output not in _between(found, first, second)]
    return found


def _source(operators: list[Operator], operator: Operator, outputs: tuple[str, ...]) -> Operator | None:
    """Return the operator before a chain of views that nothing else reads; None when something does."""
    name = operator.inputs[0]
    while True:
        readers = [o for o in operators if name in o.inputs]
        before = next((o for o in operators if o.output == name), None)
        if len(readers) != 1 or before is None or name in outputs:
            return None
        if not before.traits.view:
            return before
        name = before.inputs[0]


def _between(operators: list[Operator], first: Operator, second: Operator) -> set[str]:
    """Return the outputs of `first` and of the views behind it that `second` no longer reads."""
    unread = {first.output}
    for operator in operators:
        if operator.traits.view and operator.inputs[0] in unread and operator.name != second.name:
            unread.add(operator.output)
    return unread


def _one_axis(pool: Operator, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the pool's windows cover whole rows or whole columns, each element once."""
    window, sizes = pool.window, (1, *shapes[pool.inputs[0]][1:])[-2:]
    whole = [size in (1, length) for size, length in zip(window.kernel, sizes, strict=True)]
    return all(whole) and window.stride == window.kernel and not any(window.padding)
