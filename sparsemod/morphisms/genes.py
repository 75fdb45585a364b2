"""A candidate of the family `cnn` or `cnn1d` as an editable structure: blocks of layers.

`CnnGenes(parameters)` reads a copy; `parameters()` writes a candidate with renumbered blocks and layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sparsemod.morphisms.steps import nearest
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


@dataclass(frozen=True)
class LayerGenes:
    """One convolution layer; `dilation` is None in a space without this parameter."""

    type: Value
    filters: Value
    kernel: Value
    dilation: Value | None = None

    def __str__(self) -> str:
        text = f"{self.type}, {self.filters} filters, kernel {self.kernel}"
        return text if self.dilation is None else f"{text}, dilation {self.dilation}"

    def parameters(self, name: str) -> Values:
        """Return the parameters of the layer called `name`."""
        values: Values = {
            f"{name}_type": self.type,
            f"{name}_filters": self.filters,
            f"{name}_kernel": self.kernel,
        }
        return values if self.dilation is None else {**values, f"{name}_dilation": self.dilation}


@dataclass(frozen=True)
class BlockGenes:
    """One block."""

    layers: tuple[LayerGenes, ...]
    pool: Value

    def insert(self, place: int, layer: LayerGenes) -> "BlockGenes":
        """Return a copy with `layer` inserted at index `place` (from 0)."""
        return replace(self, layers=(*self.layers[:place], layer, *self.layers[place:]))

    def without(self, place: int) -> "BlockGenes":
        """Return a copy without the layer at index `place`."""
        return replace(self, layers=(*self.layers[:place], *self.layers[place + 1 :]))


class CnnGenes:
    """The blocks of one candidate.

    `others` holds all other parameters (head, dropout, dense layers, pipeline).
    """

    def __init__(self, parameters: Mapping[str, Value]) -> None:
        self.others: Values = dict(parameters)
        self.blocks: list[BlockGenes] = []
        take = self.others.pop
        for b in range(1, int(take("blocks")) + 1):
            layers = tuple(
                LayerGenes(
                    take(f"b{b}_l{n}_type"),
                    take(f"b{b}_l{n}_filters"),
                    take(f"b{b}_l{n}_kernel"),
                    take(f"b{b}_l{n}_dilation", None),
                )
                for n in range(1, int(take(f"b{b}_layers")) + 1)
            )
            self.blocks.append(BlockGenes(layers, take(f"b{b}_pool")))

    def parameters(self) -> Values:
        """Return the candidate, in the order of the family's space."""
        values: Values = {"blocks": len(self.blocks)}
        for b, block in enumerate(self.blocks, 1):
            values[f"b{b}_layers"] = len(block.layers)
            for n, layer in enumerate(block.layers, 1):
                values |= layer.parameters(f"b{b}_l{n}")
            values[f"b{b}_pool"] = block.pool
        return values | self.others

    def before(self, b: int, place: int) -> LayerGenes | None:
        """Return the layer before index `place` of block `b` (both from 0); None at the input."""
        earlier = [layer for block in self.blocks[:b] for layer in block.layers] + list(
            self.blocks[b].layers[:place]
        )
        return earlier[-1] if earlier else None


def fitting(space: Space, name: str, type: str, filters: Value, kernel: int) -> LayerGenes:
    """Return a new layer for the name `name`, with the allowed values nearest to the wanted ones."""
    return LayerGenes(
        nearest(space, f"{name}_type", type),
        nearest(space, f"{name}_filters", filters),
        nearest(space, f"{name}_kernel", kernel),
        nearest(space, f"{name}_dilation", 1) if f"{name}_dilation" in space else None,
    )
