"""Memory that a node's kernel needs in addition to its tensors: one rule per kind."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsemod.kinds import Kind, Stage, kind_of
from sparsemod.kinds.dsp import dsp_loops
from sparsemod.kinds.families import family_of
from sparsemod.kinds.mve import mve_loops
from sparsemod.kinds.windows import Window
from sparsemod.layouts import Tensors


@dataclass(frozen=True)
class Node:
    """A layer, as seen by the memory planner and the C kernels.

    `kind` is the kind of the integer layer. A kind without a window has a `window` of a single position. `attributes` are those of
    the operator or the layer on which memory and loops depend."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    window: Window = field(default_factory=Window)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def traits(self) -> Kind:
        """Return the node's kind. Raises Unsupported for an unregistered kind."""
        return kind_of(self.kind, self.name, MEMORY.title)


@dataclass(frozen=True)
class Memory:
    """`scratch`: bytes needed while the kernel runs; `in_place`: the kernel may overwrite any of its inputs with its result.

    `own_scratch`: bytes that a kernel of the layer's own needs, by family of cores."""

    scratch: int = 0
    in_place: bool = False
    own_scratch: Mapping[str, int] = field(default_factory=dict)

    def scratch_on(self, core: str) -> int:
        """Return the bytes needed while the kernel for `core` runs; the plain kernel must fit as well."""
        return max(self.scratch, self.own_scratch.get(family_of(core), 0))


MemoryRule = Callable[[Node, Tensors], Memory]

MEMORY: Stage[MemoryRule] = Stage(
    "the memory plan",
    builtin=(
        __name__,
        "sparsemod.arena.operator_memory",
        "sparsemod.arena.recurrent_memory",
        "sparsemod.arena.signal_memory",
    ),
)
"""Memory rules by kind: (node, tensors) -> Memory."""


@MEMORY.rules("linear", "concat", "flatten", "reshape", "transpose")
def apart(node: Node, tensors: Tensors) -> Memory:
    """Rule for a kernel without scratch whose output must not overlap its inputs."""
    return Memory()


@MEMORY.rules("clamp", "add", "global_avg_pool")
def over_input(node: Node, tensors: Tensors) -> Memory:
    """Rule for a kernel that reads each element before it overwrites it."""
    return Memory(in_place=True)


@MEMORY.register("conv")
def gathered(node: Node, tensors: Tensors) -> Memory:
    """Rule for windowed kernels: scratch holds one window of one group, except for kernels that read their input directly."""
    channels, rows, columns = tensors.image(node.inputs[0])
    window, outputs = node.window, tensors.image(node.output)[0]
    loops = dsp_loops(window, channels, outputs, (rows, columns))
    vector = mve_loops(window, channels, outputs, (rows, columns))
    own = {family: each.scratch for family, each in (("dsp", loops), ("mve", vector)) if each is not None}
    if window.conv_kernel(channels, outputs) != "conv":
        return Memory(own_scratch=own)
    return Memory(math.prod(window.kernel) * (channels // window.groups), own_scratch=own)


@MEMORY.rules("max_pool", "avg_pool")
def pooled(node: Node, tensors: Tensors) -> Memory:
    """Rule for pooling: in place where no window reads a position that an earlier window has overwritten.

    The kernel reads a position's window before it writes the position's result, so only later windows matter: none may
    begin at or before the written position. Positions (with all their channels) are numbered row by row.
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
