"""What the C kernels need of memory: views, in-place work and scratch, for any network of these nodes.

Tensors with three axes lie channels last (rows, columns, channels) in memory. Hence

- flatten is a view wherever its readers do not mind the order: linear layers, whose weights are permuted for it (also behind
  activations). Elsewhere it moves bytes.
- An activation of its own, an addition and a mean over all positions work in place; pooling too, where no window reads what
  an earlier one has overwritten. The network's input is never overwritten by a kernel, but its bytes are free after its last reader.
- A convolution larger than 1 x 1 (or with padding or groups) gathers one window into scratch; depthwise ones do not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsemod.arena.problem import Problem, Step

Shape = tuple[int, ...]
_ELEMENTWISE = ("clamp", "add")


@dataclass(frozen=True)
class Node:
    """A layer as memory sees it. `kind`: conv, linear, max_pool, avg_pool, global_avg_pool, add, concat, clamp or flatten;
    `padding` = (top, bottom, left, right)."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


@dataclass(frozen=True)
class Layout:
    """`nodes`: those whose kernels run; `buffer_of` each tensor; `order_of` vectors that hold a flattened (C, H, W) tensor's
    elements channels last; `problem` for the planner, one step per node of `nodes`, named by index."""

    nodes: tuple[Node, ...]
    buffer_of: Mapping[str, str]
    order_of: Mapping[str, Shape]
    problem: Problem


def layout(nodes: Sequence[Node], shapes: Mapping[str, Shape], source: str, result: str) -> Layout:
    """The memory of a network with input `source` and output `result`; nodes that the result does not need are left out."""
    useful = _useful(nodes, result)
    held, kept = {source: source}, []
    order_of: dict[str, Shape] = {}
    for node in useful:
        first = node.inputs[0]
        if node.kind == "flatten" and (view := _view(node, useful, shapes, order_of, result)) is not None:
            held[node.output] = held[first]
            if view:
                order_of[node.output] = view
            continue
        if node.kind == "clamp" and first in order_of:
            order_of[node.output] = order_of[first]
        held[node.output] = node.output
        kept.append(node)
    outside = held[result]
    steps = tuple(_step(i, n, shapes, held, outside) for i, n in enumerate(kept))
    sizes = {
        held[name]: math.prod(shapes[name]) for name in held if held[name] != outside or outside == source
    }
    return Layout(tuple(kept), held, order_of, Problem(sizes, steps, source))


def _useful(nodes: Sequence[Node], result: str) -> list[Node]:
    wanted, found = {result}, []
    for node in reversed(nodes):
        if node.output in wanted:
            found.append(node)
            wanted.update(node.inputs)
    return found[::-1]


def _view(
    node: Node, nodes: Sequence[Node], shapes: Mapping[str, Shape], order_of: Mapping[str, Shape], result: str
) -> Shape | None:
    """() for a view in the usual order, (C, H, W) for one that holds such a tensor channels last, None for no view."""
    if node.inputs[0] in order_of:
        return order_of[node.inputs[0]]
    shape = shapes[node.inputs[0]]
    if len(shape) != 3 or shape[0] == 1 or shape[1] * shape[2] == 1:
        return ()
    return shape if _any_order(node.output, nodes, result) else None


def _any_order(tensor: str, nodes: Sequence[Node], result: str) -> bool:
    if tensor == result:
        return False
    readers = [node for node in nodes if tensor in node.inputs]
    return all(
        node.kind == "linear"
        or (node.kind in ("clamp", "flatten") and _any_order(node.output, nodes, result))
        for node in readers
    )


def _step(index: int, node: Node, shapes: Mapping[str, Shape], held: Mapping[str, str], outside: str) -> Step:
    reads = tuple(held[name] for name in node.inputs)
    writes = None if held[node.output] == outside else held[node.output]
    in_place = reads if works_in_place(node, shapes) else ()
    return Step(str(index), reads, writes, in_place, scratch(node, shapes))


def scratch(node: Node, shapes: Mapping[str, Shape]) -> int:
    """Bytes that a node's kernel needs beside its tensors: one window of one group."""
    if node.kind != "conv":
        return 0
    channels, outputs = shapes[node.inputs[0]][0], shapes[node.output][0]
    if is_depthwise(node, channels, outputs) or is_pointwise(node):
        return 0
    return math.prod(node.kernel) * (channels // node.groups)


def is_depthwise(node: Node, channels: int, outputs: int) -> bool:
    """Whether the depthwise kernel runs it: each channel has one filter of its own."""
    return node.groups == channels == outputs and node.groups > 1


def is_pointwise(node: Node) -> bool:
    """Whether the input itself is the window."""
    return node.kernel == (1, 1) and node.padding == (0, 0, 0, 0) and node.groups == 1


def works_in_place(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """Whether a kernel may write its result over its input."""
    if node.kind in (*_ELEMENTWISE, "global_avg_pool"):
        return True
    if node.kind in ("max_pool", "avg_pool"):
        return _pools_in_place(node, shapes[node.inputs[0]], shapes[node.output])
    return False


def _pools_in_place(node: Node, source: Shape, result: Shape) -> bool:
    """Each position's result is written after its own window is read, so only later windows matter: none may begin at or
    before the place that is written. Places count positions (all channels of one), row by row."""
    _, height, width = source
    _, rows, columns = result
    if rows * columns > height * width:
        return False
    firsts = [
        max(0, r * node.stride[0] - node.padding[0]) * width + max(0, c * node.stride[1] - node.padding[2])
        for r in range(rows)
        for c in range(columns)
    ]
    lowest_later = height * width
    for place in range(len(firsts) - 1, -1, -1):
        if place >= lowest_later:
            return False
        lowest_later = min(lowest_later, firsts[place])
    return True
