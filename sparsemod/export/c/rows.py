"""C code of layers that run together, some rows at a time: the loops around the calls of their kernels (see `sparsemod.arena.chains`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparsemod.arena import Chain, Node
from sparsemod.arena.chains import Stage
from sparsemod.export.c.arena import ArenaPlan

ROWS_FUNCTIONS = ("rows_moved", "rows_copied")
"""Functions of templates/network.c that copy rows."""

_WORD = 4
_LOWEST = -128


@dataclass(frozen=True)
class Grouped:
    """A step of the arena's plan: its `index` there, and its nodes, several where they run together as a `chain`."""

    index: int
    nodes: tuple[Node, ...]
    chain: Chain | None = None


def grouped(arena: ArenaPlan) -> tuple[Grouped, ...]:
    """Return the steps of a plan in the order in which they run."""
    found = arena.layout
    return tuple(Grouped(index, found.nodes_of(index), found.chains.get(index)) for index in arena.plan.order)


@dataclass(frozen=True)
class RowsCode:
    """Writes the code of a chain.

    `addresses`: C pointers to the chain's inputs and output. `start`: the chain's memory in the arena. `zeros`: the zero points of
    tensors. `calls`: for each layer, the function that returns its calls for given addresses ("in0", "in1", "out", "scratch")."""

    chain: Chain
    addresses: Mapping[str, str]
    start: int
    zeros: Mapping[str, int]
    calls: Sequence[Callable[[Mapping[str, str]], list[str]]]

    def lines(self) -> list[str]:
        """Return the lines of the block."""
        stages = self.chain.stages
        last = len(stages) - 1
        lines = ["{"]
        for index, stage in enumerate(stages):
            lines.append(f"    int32_t row{index} = 0;")
            if stage.window:
                start = self._window(index)
                above = stage.above * stage.row_bytes
                lines.append(f"    int8_t *end{index} = {start}{f' + {above}' if above else ''};")
        if self.chain.copied:
            lines.append("    int32_t copied = 0;")
        lines.append("")
        for index, stage in enumerate(stages):
            if stage.window and stage.above:
                value = self._outside(stage)
                lines.append(f"    memset({self._window(index)}, {value}, {stage.above * stage.row_bytes});")
        lines.append(f"    while (row{last} < {stages[last].height}) {{")
        lines += _indented(self._turn(last, self._advanced(self.chain.output, last)), 2)
        return [*lines, "    }", "}"]

    def _turn(self, index: int, out: str) -> list[str]:
        """Return the code of one turn of a stage, whose output goes to `out`."""
        chain, stage = self.chain, self.chain.stages[index]
        lines = self._filled(index) if stage.window else []
        first = chain.parts.index(stage.parts[0])
        for number, part in enumerate(stage.parts):
            holes = {"scratch": self._at(chain.kernel_scratch)}
            for place, name in enumerate(part.node.inputs):
                if number == 0 and name == part.main:
                    holes[f"in{place}"] = self._source(index)
                elif name in chain.places:
                    holes[f"in{place}"] = self._at(chain.places[name].start)
                else:
                    holes[f"in{place}"] = self._advanced(name, index)
            made = part.node.output
            holes["out"] = self._at(chain.places[made].start) if made in chain.places else out
            lines += self.calls[first + number](holes)
        lines.append(f"row{index} += {stage.rows};")
        kept = (stage.window - stage.step) * stage.row_bytes
        moved = stage.step * stage.row_bytes
        if stage.window and kept:
            start = chain.places[f"window {index}"].start
            function = "rows_moved" if stage.whole_words else "rows_copied"
            lines.append(f"{function}({self._at(start)}, {self._at(start + moved)}, {kept});")
        if stage.window:
            lines.append(f"end{index} -= {moved};")
        return lines

    def _filled(self, index: int) -> list[str]:
        """Return the code that fills a stage's window: with rows of the stage before or of the chain's input, then with those outside."""
        chain, stage = self.chain, self.chain.stages[index]
        end = chain.places[f"window {index}"]
        if index == 0:
            source = self.addresses[stage.parts[0].main]
            rows = "copied"
            more = [
                f"rows_copied(end0, {source} + copied * {stage.row_bytes}, {stage.row_bytes});",
                "++copied;",
            ]
        else:
            rows = f"row{index - 1}"
            more = self._turn(index - 1, f"end{index}")
        needed = (stage.height // stage.rows - 1) * stage.step + stage.window - stage.above
        inside = _indented(more, 2 if needed > stage.source_height else 1)
        if needed > stage.source_height:
            inside = [
                f"    if ({rows} < {stage.source_height}) {{",
                *inside,
                "    } else {",
                f"        memset(end{index}, {self._outside(stage)}, {stage.row_bytes});",
                "    }",
            ]
        return [
            f"while (end{index} < {self._at(end.start + end.size)}) {{",
            *inside,
            f"    end{index} += {stage.row_bytes};",
            "}",
        ]

    def _source(self, index: int) -> str:
        """Return the address of the rows that the first layer of a stage reads."""
        stage = self.chain.stages[index]
        if stage.window:
            return self._window(index)
        source = self.addresses[stage.parts[0].main]
        step = stage.step // stage.rows * stage.row_bytes
        return f"{source} + row{index} * {step}"

    def _advanced(self, tensor: str, index: int) -> str:
        """Return the address of the rows at which a stage is, of a tensor with as many rows as its output."""
        return f"{self.addresses[tensor]} + row{index} * {self.chain.row_sizes[tensor]}"

    def _outside(self, stage: Stage) -> int:
        return _LOWEST if stage.outside == "lowest" else self.zeros[stage.parts[0].main]

    def _window(self, index: int) -> str:
        return self._at(self.chain.places[f"window {index}"].start)

    def _at(self, offset: int) -> str:
        """Return the address of a byte of the chain's memory, which begins at a whole word."""
        start = -(-self.start // _WORD) * _WORD + offset
        return f"arena.bytes + {start}" if start else "arena.bytes"


def _indented(lines: Sequence[str], levels: int) -> list[str]:
    return [line if line.startswith("#") else "    " * levels + line for line in lines]
