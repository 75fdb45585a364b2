"""Recurrent layers of which only the last step is read: they need no memory for the others."""

from collections.abc import Mapping
from dataclasses import replace

from sparsemod.graph.operators import Operator


def keep_last_steps(
    operators: list[Operator],
    outputs: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]],
    layouts: dict[str, str],
) -> list[Operator]:
    """Return the operators with recurrent layers that give their last state alone where nothing reads another step.

    The last state is that of the last valid step; of a reverse layer that of the first step.
    """
    found = list(operators)
    for end in operators:
        cell = next((o for o in found if o.output == end.inputs[0]), None)
        if cell is None or not cell.traits.recurrent or cell.attributes["last"] or cell.output in outputs:
            continue
        if [o for o in found if cell.output in o.inputs] != [end] or not _is_end(end, cell, shapes):
            continue
        found[found.index(cell)] = replace(
            cell, output=end.output, attributes={**cell.attributes, "last": True}
        )
        found.remove(end)
        layouts.pop(end.output, None)
    return found


def _is_end(reader: Operator, cell: Operator, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether an operator takes the last state of a recurrent layer."""
    if reader.kind == "last_step":
        return not cell.attributes["reverse"]
    if reader.kind != "move" or (cell.attributes["lengths"] and not cell.attributes["reverse"]):
        return False
    steps, units = shapes[cell.output]
    offset = 0 if cell.attributes["reverse"] else (steps - 1) * units
    a = reader.attributes
    return (tuple(a["sizes"]), tuple(a["strides"]), a["offset"]) == ((units,), (1,), offset)
