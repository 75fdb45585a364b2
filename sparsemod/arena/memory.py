"""What a node's kernel needs of memory beside its tensors: a rule for each kind."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from sparsemod.kinds import Kind, Stage, kind_of
from sparsemod.kinds.windows import Window
from sparsemod.layouts import Tensors


@dataclass(frozen=True)
class Node:
    """A layer as memory and C kernels see it. `kind` is the integer layer's; `window` of a kind without one is a single position."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    window: Window = field(default_factory=Window)

    @property
    def traits(self) -> Kind:
        """Its kind. Raises Unsupported for one that is not registered."""
        return kind_of(self.kind, self.name, MEMORY.title)


@dataclass(frozen=True)
class Memory:
    """`scratch` bytes while the kernel runs; `in_place`: it may write its result over any of its inputs."""

    scratch: int = 0
    in_place: bool = False


MemoryRule = Callable[[Node, Tensors], Memory]

MEMORY: Stage[MemoryRule] = Stage("the memory plan", builtin=(__name__,))
"""What a kernel needs: (node, tensors) -> Memory."""


@MEMORY.rules("linear", "concat", "flatten", "reshape", "transpose")
def apart(node: Node, tensors: Tensors) -> Memory:
    """A kernel that needs nothing, and whose output lies apart from its inputs."""
    return Memory()


@MEMORY.rules("clamp", "add", "global_avg_pool")
def over_input(node: Node, tensors: Tensors) -> Memory:
    """A kernel that reads each element before it writes over it."""
    return Memory(in_place=True)


@MEMORY.register("conv")
def gathered(node: Node, tensors: Tensors) -> Memory:
    """One window of one group is gathered into scratch, but for kernels that read their input where it is."""
    channels, outputs = tensors.image(node.inputs[0])[0], tensors.image(node.output)[0]
    window = node.window
    if window.depthwise(channels, outputs) or window.pointwise:
        return Memory()
    return Memory(math.prod(window.kernel) * (channels // window.groups))


@MEMORY.rules("max_pool", "avg_pool")
def pooled(node: Node, tensors: Tensors) -> Memory:
    """In place where no window reads what an earlier one has overwritten.

    Each position's result is written after its own window is read, so only later windows matter: none may begin at or before the place
    that is written. Places count positions (all channels of one), row by row.
    """
    _, height, width = tensors.image(node.inputs[0])
    _, rows, columns = tensors.image(node.output)
    if rows * columns > height * width:
        return Memory()
    (down, right), (top, _, left, _) = node.window.stride, node.window.padding
    firsts = [
        max(0, r * down - top) * width + max(0, c * right - left) for r in range(rows) for c in range(columns)
    ]
    lowest_later = height * width
    for place in range(len(firsts) - 1, -1, -1):
        if place >= lowest_later:
            return Memory()
        lowest_later = min(lowest_later, firsts[place])
    return Memory(in_place=True)
