"""A candidate of the family `mobile` as an editable structure: an optional stem and blocks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsemod.records import Value
from sparsemod.space.space import Space, Values

Block = dict[str, Any]
"""The parameters of one block by the part of their names after `b{b}_`."""

_NAME = re.compile(r"(stem|b\d+)_(.+)")


@dataclass(frozen=True)
class Shape:
    """What one block does to channels. `inputs` is None after the image, whose channels are unknown here.

    `positive`: a relu ends the block, so that its output has no negative values.
    """

    inputs: int | None
    outputs: int
    residual: bool
    positive: bool


class MobileGenes:
    """Stem and blocks of one candidate. `others` holds all other parameters (head, dense layers, pipeline)."""

    def __init__(self, parameters: Mapping[str, Value]) -> None:
        parts: dict[str, Block] = {}
        self.others: Values = {}
        for name, value in parameters.items():
            match = _NAME.fullmatch(name)
            if match:
                parts.setdefault(match[1], {})[match[2]] = value
            elif name not in ("stem", "blocks"):
                self.others[name] = value
        self._has_switch = "stem" in parameters
        self.stem: Block | None = parts.get("stem") if parameters.get("stem", False) else None
        self.blocks: list[Block] = [parts[f"b{b}"] for b in range(1, int(parameters["blocks"]) + 1)]

    def parameters(self) -> Values:
        """Return the candidate with renumbered blocks."""
        values: Values = {"stem": self.stem is not None} if self._has_switch else {}
        values |= {f"stem_{part}": value for part, value in (self.stem or {}).items()}
        values["blocks"] = len(self.blocks)
        for b, block in enumerate(self.blocks, 1):
            values |= {f"b{b}_{part}": value for part, value in block.items()}
        return values | self.others

    def units(self) -> list[tuple[str, Block]]:
        """Return stem and blocks in order, with their names."""
        found = [] if self.stem is None else [("stem", self.stem)]
        return found + [(f"b{b}", block) for b, block in enumerate(self.blocks, 1)]

    def shapes(self) -> list[Shape]:
        """Return what each of `units` does to channels."""
        found: list[Shape] = []
        inputs: int | None = None
        for name, block in self.units():
            kind = "stem" if name == "stem" else block["type"]
            outputs = int(block["filters"])
            residual = kind == "inverted" and inputs == outputs and block["down"] != "stride"
            found.append(Shape(inputs, outputs * paths(block), residual, kind != "inverted"))
            inputs = outputs * paths(block)
        return found


def paths(block: Block) -> int:
    """Return how many times its filters a block has channels: the number of paths that it concatenates, else 1."""
    return int(block["branches"]) if block.get("join") == "concat" else 1


def describe(block: Block) -> str:
    """Describe a block in words."""
    text = f"{block['type']} {block['filters']}"
    if block["type"] == "conv":
        kernels = [str(block[f"p{p}_kernel"]) for p in range(1, int(block["branches"]) + 1)]
        return f"{text}, {'kernel' if len(kernels) == 1 else 'kernels'} {' '.join(kernels)}"
    if block["type"] == "inverted":
        text += f", expansion {block['expansion']}"
    return f"{text}, kernel {block['kernel']}"


def completed(space: Space, genes: MobileGenes) -> MobileGenes:
    """Return the genes within the space: unused parameters dropped, missing ones at their default."""
    return MobileGenes(space.complete(genes.parameters()))
