"""Loop counts, and bytes of constants, of the kernels of functions, pairs, copies and normalizations."""

import math
from collections.abc import Sequence

from sparsemod.arena import Node
from sparsemod.layouts import Tensors
from sparsemod.measure.work import CONSTANTS, FEATURES, Features, Loops
from sparsemod.patterns import AXES, Pattern, in_memory, pattern_of

_WHOLE = 8  # shorter runs are copied byte by byte


@FEATURES.register("table")
def table(tensors: Tensors, node: Node) -> Loops:
    """Count every element once."""
    return Loops("table", {"elements": float(tensors.elements(node.output))})


@FEATURES.register("prelu")
def prelu(tensors: Tensors, node: Node) -> Loops:
    """Count elements and positions."""
    channels, rows, columns = tensors.image(node.output)
    positions = rows * columns
    return Loops("prelu", {"elements": float(positions * channels), "positions": float(positions)})


def _elements(tensors: Tensors, node: Node) -> Features:
    """Return the numbers of elements, positions and rows of the output."""
    channels, rows, columns = tensors.image(node.output)
    positions = float(rows * columns)
    return {"elements": positions * channels, "positions": positions, "rows": float(rows)}


@FEATURES.rules("sum", "subtract")
def combined(tensors: Tensors, node: Node) -> Loops:
    """Count elements, positions and rows of the output."""
    return Loops("combine", _elements(tensors, node))


@FEATURES.rules("maximum", "minimum")
def compared(tensors: Tensors, node: Node) -> Loops:
    """Count as for a sum; a comparison costs more, so compared elements count again."""
    features = _elements(tensors, node)
    return Loops("combine", {**features, "compared": features["elements"]})


@FEATURES.register("multiply")
def multiply(tensors: Tensors, node: Node) -> Loops:
    """Count elements, positions and rows of the output."""
    return Loops("multiply", _elements(tensors, node))


@FEATURES.register("move")
def move(tensors: Tensors, node: Node) -> Loops:
    """Count the runs of the last axis, the ends of the other axes, and the elements by the way in which they are copied."""
    a = node.attributes
    pattern = memory_pattern(tensors, node, Pattern(tuple(a["sizes"]), tuple(a["strides"]), a["offset"]))
    return Loops("move", moved(pattern))


def moved(pattern: Pattern) -> Features:
    """Return the loops of the kernel that copies a pattern."""
    *outer, size = pattern.sizes
    runs = math.prod(outer)
    ends = sum(math.prod(outer[:axis]) for axis in range(1, len(outer)))
    whole = pattern.strides[-1] == 1 and size >= _WHOLE
    return {
        "runs": float(runs),
        "ends": float(ends),
        "whole_runs": float(runs if whole else 0),
        "whole_bytes": float(pattern.elements if whole else 0),
        "bytes": float(0 if whole else pattern.elements),
    }


def memory_pattern(tensors: Tensors, node: Node, pattern: Pattern) -> Pattern:
    """Return a pattern of the arrays' order as a pattern of the order of C's memory."""
    sides = [(tensors.shapes[name], tensors.layout(name)) for name in (node.inputs[0], node.output)]
    found = pattern_of(in_memory(pattern.index(), sides[0], sides[1]))
    if found is None:
        raise ValueError(f"{node.name}: no pattern of {AXES} axes")  # capture checks it
    return found


@FEATURES.register("reshape")
def reshape(tensors: Tensors, node: Node) -> Loops:
    """Count a copied pattern between two images; else one read and write of each element, like the clamp kernel."""
    if tensors.moves(node.inputs[0]) and tensors.moves(node.output):
        pattern = reshaped_pattern(tensors, node)
        if pattern is not None:
            return Loops("move", moved(pattern))
    channels, elements = tensors.image(node.output)[0], tensors.elements(node.output)
    return Loops("clamp", {"elements": float(elements), "channels": float(channels)})


def reshaped_pattern(tensors: Tensors, node: Node) -> Pattern | None:
    """Return the copied pattern of a reshape from one image to another, None when there is none."""
    index = Pattern((tensors.elements(node.output),), (1,)).index()
    sides = [(tensors.shapes[name], tensors.layout(name)) for name in (node.inputs[0], node.output)]
    return pattern_of(in_memory(index, sides[0], sides[1]))


@FEATURES.register("take")
def take(tensors: Tensors, node: Node) -> Loops:
    """Count positions by the way in which their channels are copied."""
    rows, columns, channels = image_places(tensors, node)
    made = tensors.image(node.output)
    outside = {
        axis: sum(place < 0 for place in places) for axis, places in (("rows", rows), ("columns", columns))
    }
    inside = (made[1] - outside["rows"]) * (made[2] - outside["columns"])
    filled = made[1] * made[2] - inside
    chosen = bool(channels)
    return Loops(
        "take",
        {
            "rows": float(made[1]),
            "copied": float(0 if chosen else inside),
            "copied_bytes": float(0 if chosen else inside * made[0]),
            "filled": float(filled),
            "filled_bytes": float(filled * made[0]),
            "chosen": float(inside if chosen else 0),
            "chosen_bytes": float(inside * made[0] if chosen else 0),
        },
    )


def image_places(tensors: Tensors, node: Node) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Return the places along rows, columns and channels; () for an unchanged axis."""
    layout, places = tensors.layout(node.output), node.attributes["places"]
    rows, columns = ((), (), *(places[axis] for axis in layout.positions))[-2:]
    return rows, columns, places[layout.channel]


@FEATURES.register("interpolate")
def interpolate(tensors: Tensors, node: Node) -> Loops:
    """Count elements, positions and rows of the output."""
    return Loops("interpolate", _elements(tensors, node))


@FEATURES.register("softmax")
def softmax(tensors: Tensors, node: Node) -> Loops:
    """Count elements and vectors."""
    return Loops("softmax", _vectors(tensors, node))


@FEATURES.register("l2_normalize")
def normalize(tensors: Tensors, node: Node) -> Loops:
    """Count elements and vectors."""
    return Loops("normalize", _vectors(tensors, node))


def _vectors(tensors: Tensors, node: Node) -> Features:
    features = _elements(tensors, node)
    return {"elements": features["elements"], "vectors": features["positions"]}


CONSTANTS.add("table", lambda tensors, node: 256)
CONSTANTS.add("softmax", lambda tensors, node: 1024)
CONSTANTS.add("prelu", lambda tensors, node: 4 * tensors.image(node.output)[0])


@CONSTANTS.register("take")
def take_bytes(tensors: Tensors, node: Node) -> int:
    """Return two bytes for each place of a list."""
    channels, rows, columns = tensors.image(node.output)
    return 2 * (rows + columns + (channels if image_places(tensors, node)[2] else 0))


@CONSTANTS.register("interpolate")
def interpolate_bytes(tensors: Tensors, node: Node) -> int:
    """Return two bytes for each entry of the three lists of an axis."""
    _, rows, columns = tensors.image(node.output)
    return 6 * (rows + columns)


CONSTANTS.add("log_softmax", lambda tensors, node: 1024 + 4 * 257)
CONSTANTS.add("group_norm", lambda tensors, node: 8 * tensors.image(node.output)[0])
CONSTANTS.add("offset", lambda tensors, node: tensors.elements(node.output))


@FEATURES.register("log_softmax")
def log_softmax(tensors: Tensors, node: Node) -> Loops:
    """Count elements and vectors."""
    return Loops("log_softmax", _vectors(tensors, node))


@FEATURES.register("group_norm")
def group_norm(tensors: Tensors, node: Node) -> Loops:
    """Count elements, the lines of a group's channels at one position, and groups."""
    channels, rows, columns = tensors.image(node.output)
    groups, whole = int(node.attributes["groups"]), bool(node.attributes["whole"])
    positions = float(rows * columns)
    runs = 1.0 if whole else positions
    features = {
        "elements": positions * channels,
        "lines": positions * groups,
        "groups": runs * groups,
        "runs": runs,
    }
    return Loops("group_norm", features)


@FEATURES.register("matmul")
def matmul(tensors: Tensors, node: Node) -> Loops:
    """Count multiply-adds, outputs, the rows of products, and rows."""
    a = node.attributes
    rows, products = float(a["rows"]), float(a["products"])
    outputs = rows * products * float(a["columns"])
    return Loops(
        "matmul",
        {"taps": outputs * float(a["inner"]), "outputs": outputs, "lines": rows * products, "rows": rows},
    )


@FEATURES.register("offset")
def offset(tensors: Tensors, node: Node) -> Loops:
    """Count as for an addition, which runs it."""
    channels = tensors.image(node.output)[0]
    return Loops("add", {"elements": float(tensors.elements(node.output)), "channels": float(channels)})
