"""Chains of layers that run together, some rows of the last layer's output at a time.

Of the maps between the layers of a chain only the rows exist that the next rows depend on. No row is computed twice, so a chain has the
multiply-adds of its layers. The chain is cut into stages. A stage begins with a layer that reads several rows for one of its own (or
skips rows); the layers behind it, which read a row for each of their own, belong to the same stage. In front of a stage lies a
window: the input rows of its first layer, with those of the padding. Before the stage runs, rows are added at the window's end until
it is full; afterwards the rows that no later one depends on make room.

Rows are computed one by one, those of the last stage `rows` at a time (Lin et al., "MCUNetV2", 2021, compute such chains in patches,
with multiply-adds of their own; Huang et al., "msf-CNN", 2025, search for settings of patches).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sparsemod.arena.memory import MEMORY, Node
from sparsemod.layouts import Tensors

Image = tuple[int, int, int]

_WORD = 4
_ALIGNMENT = 3  # bytes that the alignment of the rows to a word may cost


@dataclass(frozen=True)
class Fused:
    """`layers`, by name, that run together, `rows` rows of the last one's output at a time."""

    layers: tuple[str, ...]
    rows: int = 1


@dataclass(frozen=True)
class Part:
    """A layer of a chain: its `node`, with the window of one call, the `images` (channels, rows, columns) of its tensors in a call, the
    input `main` that another layer of the chain computes (for the first layer: its first input), and the `scratch` of its kernel."""

    node: Node
    images: Mapping[str, Image]
    main: str
    scratch: int

    @property
    def made(self) -> int:
        """Rows of its output in a call."""
        return self.images[self.node.output][1]

    def tensors(self, tensors: Tensors) -> Tensors:
        """Return the tensors of a network with the shapes that this layer's have in a call."""
        shapes = {name: tensors.layout(name).sample(image) for name, image in self.images.items()}
        return replace(tensors, shapes={**tensors.shapes, **shapes})


@dataclass(frozen=True)
class Place:
    """Bytes in the memory of a chain."""

    start: int
    size: int


@dataclass(frozen=True)
class Stage:
    """Layers of a chain that run one after another. `rows`: of its output, in a turn. `height`: all rows of its output.

    `window`: the rows of its first layer's input that lie in memory at a time, 0 where the layer reads the chain's input in place;
    `step`: by how many rows it moves; `above`: the rows of padding above the input; `outside`: what rows outside hold ("zero",
    "lowest"). `row_bytes`: of a row of the input, which has `source_height` rows."""

    parts: tuple[Part, ...]
    rows: int
    height: int
    window: int
    step: int
    above: int
    outside: str
    row_bytes: int
    source_height: int

    @property
    def whole_words(self) -> bool:
        """Whether the rows that stay in the window lie at whole words before and after they move, and are whole words."""
        kept = self.window - self.step
        return self.step * self.row_bytes % _WORD == 0 and kept * self.row_bytes % _WORD == 0


@dataclass(frozen=True)
class Event:
    """One call of a layer, or a copy of one row of the chain's input (`part` is None): the first row that it reads of each `read` input
    of the chain, and the `written` rows of the chain's output afterwards."""

    part: Part | None
    stage: int
    read: Mapping[str, int]
    written: int = 0


@dataclass(frozen=True)
class Chain:
    """Layers that run together. `copied`: the rows of the chain's input are copied to the first stage's window, because its first layer
    has padding above or below. `places`: the bytes of windows ("window 0", by stage) and of the tensors within a stage, in
    the chain's memory, which takes `scratch` bytes, with the scratch of the kernels from `kernel_scratch` on."""

    name: str
    stages: tuple[Stage, ...]
    copied: bool
    inputs: tuple[str, ...]
    output: str
    row_sizes: Mapping[str, int]
    places: Mapping[str, Place]
    kernel_scratch: int
    scratch: int
    fused: Fused = field(default_factory=lambda: Fused(()))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The layers in order."""
        return tuple(part for stage in self.stages for part in stage.parts)

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Every call, in order."""
        return tuple(_Run(self).events())

    def calls(self, part: Part) -> int:
        """Return how often a layer runs."""
        return sum(event.part is part for event in self.events)

    @cached_property
    def distances(self) -> dict[str, int]:
        """The bytes by which the output must begin before each input of the chain that it overwrites.

        Rows of the output are written when later calls still read the input from some row on. The last layer may read an input (an
        addition) where it writes, element by element."""
        found = dict.fromkeys(self.inputs, 0)
        unread: dict[str, int] = {}
        made = self.row_sizes[self.output]
        for event in reversed(self.events):
            if event.written:
                for name, row in unread.items():
                    found[name] = max(found[name], event.written * made - row * self.row_sizes[name])
            for name, row in event.read.items():
                unread[name] = min(row, unread.get(name, row))
        return found

    @cached_property
    def work(self) -> dict[str, float]:
        """How often the code around the kernels runs: `calls` of kernels, `turns` of stages, `moves` of windows, `words` and `bytes` that
        these move, `lines` added to windows, `copied` bytes of the chain's input, and `filled` bytes of rows outside of an input."""
        counts = dict.fromkeys(("calls", "turns", "moves", "words", "bytes", "lines", "copied", "filled"), 0)
        for event in self.events:
            counts["calls"] += event.part is not None
            counts["copied"] += 0 if event.part is not None else self.stages[0].row_bytes
        for stage in self.stages:
            turns = sum(event.part is stage.parts[0] for event in self.events)
            counts["turns"] += turns
            if not stage.window:
                continue
            lines = (turns - 1) * stage.step + stage.window - stage.above
            counts["lines"] += lines
            counts["filled"] += (stage.above + max(0, lines - stage.source_height)) * stage.row_bytes
            kept = (stage.window - stage.step) * stage.row_bytes
            counts["moves"] += turns if kept else 0
            if stage.whole_words:
                counts["words"] += turns * kept // _WORD
            else:
                counts["bytes"] += turns * kept
        return {name: float(count) for name, count in counts.items()}


class _Run:
    """The order of a chain's calls."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.turns = [0] * len(chain.stages)
        self.held = [stage.above for stage in chain.stages]
        self.copies = 0

    def events(self) -> Iterator[Event]:
        """Yield every call, in order."""
        last = len(self.chain.stages) - 1
        stage = self.chain.stages[last]
        for _ in range(stage.height // stage.rows):
            yield from self._turn(last)

    def _turn(self, index: int) -> Iterator[Event]:
        chain, stage = self.chain, self.chain.stages[index]
        if stage.window:
            yield from self._fill(index)
        turn = self.turns[index]
        self.turns[index] += 1
        last = index == len(chain.stages) - 1
        for number, part in enumerate(stage.parts):
            read = {}
            for name in part.node.inputs:
                if name in chain.inputs and not (name == part.main and number == 0 and stage.window):
                    direct = number == 0 and name == part.main
                    read[name] = turn * (stage.step if direct else stage.rows)
            final = last and part is stage.parts[-1]
            yield Event(part, index, read, (turn + 1) * stage.rows if final else 0)

    def _fill(self, index: int) -> Iterator[Event]:
        stage = self.chain.stages[index]
        needed = self.turns[index] * stage.step + stage.window
        while self.held[index] < needed:
            if self.held[index] - stage.above >= stage.source_height:
                self.held[index] += 1
            elif index == 0:
                name = stage.parts[0].main
                yield Event(None, 0, {name: self.copies})
                self.copies += 1
                self.held[0] += 1
            else:
                yield from self._turn(index - 1)
                self.held[index] += self.chain.stages[index - 1].rows


def chain(nodes: Sequence[Node], tensors: Tensors, rows: int, core: str = "") -> Chain | None:
    """Return the chain of consecutive layers, `rows` rows of the last one at a time, with the kernels for `core`; None where the layers
    cannot run so.

    The caller sees to it that no other layer reads the tensors between these layers. Raises Unsupported for a kind without a memory
    rule."""
    mains = _mains(nodes)
    if len(nodes) < 2 or mains is None or not all(_fusible(node, tensors) for node in nodes):
        return None
    height = tensors.image(nodes[-1].output)[1]
    if height < 2 or rows < 1 or height % rows or rows == height:
        return None
    groups: list[list[int]] = []
    for index, node in enumerate(nodes):
        if index and _row_by_row(node):
            groups[-1].append(index)
        else:
            groups.append([index])
    inner = {node.output for node in nodes[:-1]}
    stages, copied = [], False
    for number, group in enumerate(groups):
        first = nodes[group[0]]
        count = rows if number == len(groups) - 1 else 1
        stage = _stage([nodes[i] for i in group], [mains[i] for i in group], tensors, count, core)
        source = tensors.image(mains[group[0]])
        below = (stage.height - 1) * first.window.stride[0] + _extent(first) - stage.above - source[1]
        outside = stage.above > 0 or below > 0
        if outside and stage.outside == "none":
            return None
        if number == 0 and not outside:
            stage = replace(stage, window=0)
        copied = copied or (number == 0 and outside)
        stages.append(stage)
    inputs = tuple(dict.fromkeys(n for node in nodes for n in node.inputs if n not in inner))
    return _placed(nodes, stages, copied, inputs, tensors, rows)


def _mains(nodes: Sequence[Node]) -> list[str] | None:
    """Return each layer's input that another layer of the chain computes (the first one's first input); None when they form no chain."""
    made: dict[str, int] = {}
    mains = []
    for index, node in enumerate(nodes):
        inner = [name for name in node.inputs if name in made]
        if index == 0:
            mains.append(node.inputs[0])
        elif inner != [nodes[index - 1].output]:
            return None
        else:
            mains.append(inner[0])
        made[node.output] = index
    return mains


def _fusible(node: Node, tensors: Tensors) -> bool:
    names = (*node.inputs, node.output)
    if node.traits.rows_outside is None or any(name in tensors.wide for name in names):
        return False
    if any(len(tensors.layout(name).positions) != 2 for name in names):
        return False
    others = node.inputs[1:]
    return not others or all(tensors.image(name) == tensors.image(node.output) for name in node.inputs)


def _row_by_row(node: Node) -> bool:
    """Whether each row of the output depends on the same row of the input alone."""
    window = node.window
    return window.kernel[0] == 1 and window.stride[0] == 1 and window.padding[:2] == (0, 0)


def _extent(node: Node) -> int:
    return node.window.dilation[0] * (node.window.kernel[0] - 1) + 1


def _stage(nodes: Sequence[Node], mains: Sequence[str], tensors: Tensors, rows: int, core: str) -> Stage:
    first = nodes[0]
    window, outside = first.window, first.traits.rows_outside or "none"
    step = rows * window.stride[0]
    held = max(step, (rows - 1) * window.stride[0] + _extent(first))
    channels, height, columns = tensors.image(mains[0])
    parts = []
    for index, (node, main) in enumerate(zip(nodes, mains, strict=True)):
        images = {
            name: (image[0], held if index == 0 and name == main else rows, image[2])
            for name in (*node.inputs, node.output)
            for image in [tensors.image(name)]
        }
        _, _, left, right = node.window.padding
        part = Part(replace(node, window=replace(node.window, padding=(0, 0, left, right))), images, main, 0)
        needs = MEMORY.rule(node.kind, node.name)(part.node, part.tensors(tensors))
        parts.append(replace(part, scratch=needs.scratch_on(core)))
    made = tensors.image(nodes[-1].output)[1]
    return Stage(tuple(parts), rows, made, held, step, window.padding[0], outside, channels * columns, height)


def _placed(
    nodes: Sequence[Node],
    stages: Sequence[Stage],
    copied: bool,
    inputs: tuple[str, ...],
    tensors: Tensors,
    rows: int,
) -> Chain:
    """Return the chain with the addresses of its rows: one after another, each from a whole word on."""
    places: dict[str, Place] = {}
    end = 0
    for index, stage in enumerate(stages):
        needed = [(f"window {index}", stage.window * stage.row_bytes)] if stage.window else []
        for part in stage.parts[:-1]:
            channels, made, columns = part.images[part.node.output]
            needed.append((part.node.output, channels * made * columns))
        for name, size in needed:
            places[name] = Place(end, size)
            end += -(-size // _WORD) * _WORD
    sizes = {}
    for name in (*inputs, nodes[-1].output):
        channels, _, columns = tensors.image(name)
        sizes[name] = channels * columns
    scratch = max(part.scratch for stage in stages for part in stage.parts)
    total = end + scratch + (_ALIGNMENT if end else 0)
    names = tuple(node.name for node in nodes)
    return Chain(
        nodes[-1].name, tuple(stages), copied, inputs, nodes[-1].output, sizes, places, end, total, Fused(names, rows)
    )  # fmt: skip
