"""Memory that a node's kernel needs in addition to its tensors: one rule per kind."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sparsemod.kinds import Kind, Stage, kind_of
from sparsemod.kinds.dsp import dsp_loops
from sparsemod.kinds.dsp_depthwise import DspDepthwise
from sparsemod.kinds.families import family_of
from sparsemod.kinds.mve import mve_loops
from sparsemod.kinds.mve_depthwise import MveDepthwise
from sparsemod.kinds.v6m import v6m_loops
from sparsemod.kinds.v6m_depthwise import V6mDepthwise
from sparsemod.kinds.v6m_linear import v6m_linear
from sparsemod.kinds.windows import Pair, Window
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
    """`scratch`: bytes needed while the kernel runs. `overlap`: the kernel may overwrite any of its inputs with its result, if the
    result begins at least so many bytes before the input; 0: also in place; None: it may not.

    `own`: the same for the kernels of the layer's own, by family of cores."""

    scratch: int = 0
    overlap: int | None = None
    own: Mapping[str, "Memory"] = field(default_factory=dict)

    def scratch_on(self, core: str) -> int:
        """Return the bytes needed while the kernel for `core` runs; the plain kernel must fit as well."""
        return max((memory.scratch for memory in self._on(core)), default=0)

    def overlap_on(self, core: str) -> int | None:
        """Return the bytes by which the result must begin before an input that it overwrites on `core`, with its kernel and the plain
        one; None when one of them may not overwrite it."""
        distances = [memory.overlap for memory in self._on(core)]
        known = [distance for distance in distances if distance is not None]
        return max(known) if len(known) == len(distances) else None

    def _on(self, core: str) -> tuple["Memory", ...]:
        own = self.own.get(family_of(core))
        return (self,) if own is None else (self, own)


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


@MEMORY.register("linear")
def multiplied(node: Node, tensors: Tensors) -> Memory:
    """Rule for a matrix times a vector, of which some kernels hold words of taps and sums in scratch."""
    loops = v6m_linear(tensors.elements(node.inputs[0]), tensors.elements(node.output))
    return Memory(own={} if loops is None else {"v6m": Memory(loops.scratch)})


@MEMORY.rules("concat", "flatten", "reshape", "transpose")
def apart(node: Node, tensors: Tensors) -> Memory:
    """Rule for a kernel without scratch whose output must not overlap its inputs."""
    return Memory()


@MEMORY.rules("clamp", "add", "global_avg_pool")
def over_input(node: Node, tensors: Tensors) -> Memory:
    """Rule for a kernel that reads each element before it overwrites it."""
    return Memory(overlap=0)


@MEMORY.register("conv")
def convolved(node: Node, tensors: Tensors) -> Memory:
    """Rule for convolutions: scratch holds one window of one group, except for kernels that read their input directly."""
    channels, rows, columns = tensors.image(node.inputs[0])
    window, outputs = node.window, tensors.image(node.output)[0]
    walk = _Walk.of(node, tensors)
    own: dict[str, Memory] = {}
    loops = dsp_loops(window, channels, outputs, (rows, columns))
    if loops is not None:
        distance = (
            loops.distance * channels
            if isinstance(loops, DspDepthwise)
            else walk.distance(channels, outputs, together=2)
        )
        own["dsp"] = Memory(loops.scratch, distance)
    vector = mve_loops(window, channels, outputs, (rows, columns))
    if vector is not None:
        if isinstance(vector, MveDepthwise):
            distance = vector.distance * channels
        else:
            distance = walk.distance(channels, outputs, together=2, direct=True)
        own["mve"] = Memory(vector.scratch, distance)
    narrow = v6m_loops(window, channels, outputs, (rows, columns))
    if narrow is not None:
        if isinstance(narrow, V6mDepthwise):
            distance = narrow.distance * channels
        else:
            distance = walk.distance(channels, outputs, together=4)
        own["v6m"] = Memory(narrow.scratch, distance)
    kernel = window.conv_kernel(channels, outputs)
    if kernel == "depthwise":
        return Memory(0, walk.channelwise_distance(channels), own)
    if kernel == "conv_1x1":
        return Memory(0, walk.distance(channels, outputs, direct=True), own)
    gathered = math.prod(window.kernel) * (channels // window.groups)
    return Memory(gathered, walk.distance(channels, outputs, direct=window.groups > 1), own)


@MEMORY.rules("max_pool", "avg_pool")
def pooled(node: Node, tensors: Tensors) -> Memory:
    """Rule for pooling."""
    return Memory(overlap=_Walk.of(node, tensors).channelwise_distance(tensors.image(node.inputs[0])[0]))


@dataclass(frozen=True)
class _Walk:
    """The positions of a windowed kernel's output in the order in which the kernel writes them, row by row, each with all its channels.

    An output may overwrite its input (Lin et al., "vMCU", 2024, call this segment-level overlap) if no byte is written before the last
    window that holds it has been read. Sizes are (rows, columns); `padding` is that before the image. The planner asks for the same
    image sizes and windows again and again, with other channels: what does not depend on channels is cached.
    """

    size: Pair
    made: Pair
    stride: Pair
    padding: Pair

    @classmethod
    def of(cls, node: Node, tensors: Tensors) -> "_Walk":
        """Return the walk of a node."""
        _, rows, columns = tensors.image(node.inputs[0])
        _, made_rows, made_columns = tensors.image(node.output)
        top, _, left, _ = node.window.padding
        return cls((rows, columns), (made_rows, made_columns), node.window.stride, (top, left))

    def distance(self, channels: int, outputs: int, *, together: int = 1, direct: bool = False) -> int:
        """Return the bytes by which the output, of `outputs` channels, must begin before the input.

        The kernel reads the windows of `together` positions before it writes any of these. `direct`: it reads them until it has written
        all outputs of these positions; then the last of an odd number of positions is read and written together with the one before it.
        """
        bounds = _bounds(self, together, direct)
        return max(0, max((written * outputs - unread * channels for written, unread in bounds), default=0))

    def channelwise_distance(self, channels: int) -> int:
        """Return the bytes by which the output must begin before the input, when each channel of the output depends on the same channel
        of the input, which the kernel reads before it writes it.

        No position may be written on one that its window or a later one reads. This is the largest distance of a position from the
        first one of its window, the sum of those along the rows and the columns."""
        (rows, columns), width = self.made, self.size[1]
        down = max(row * columns - self.first(0, row) * width for row in range(rows))
        return max(0, down + max(column - self.first(1, column) for column in range(columns))) * channels

    def first(self, axis: int, place: int) -> int:
        """Return the first row or column of a window that lies in the input."""
        return max(0, place * self.stride[axis] - self.padding[axis])


@lru_cache(maxsize=4096)
def _bounds(walk: _Walk, together: int, direct: bool) -> tuple[Pair, ...]:
    """Return pairs of (positions written, lowest position that is still unread then), among them those that need the largest distance
    for some numbers of channels: the lower convex hull of all pairs."""
    rows, columns = ([walk.first(axis, place) for place in range(walk.made[axis])] for axis in (0, 1))
    none = math.prod(walk.size)
    lowest = [none]  # that a window from each one on reads; after the last one, none
    for row in reversed(rows):
        for column in reversed(columns):
            lowest.append(min(lowest[-1], row * walk.size[1] + column))
    lowest.reverse()
    count = len(lowest) - 1
    hull: list[Pair] = []
    for place in range(0, count, together):
        written = min(count, place + together)
        unread = lowest[max(0, written - together) if direct else written]
        if unread >= none:
            break
        while len(hull) > 1 and _above(hull[-2], hull[-1], (written, unread)):
            hull.pop()
        hull.append((written, unread))
    return tuple(hull)


def _above(a: Pair, b: Pair, c: Pair) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (c[1] - b[1]) * (b[0] - a[0]) <= (b[1] - a[1]) * (c[0] - b[0])
