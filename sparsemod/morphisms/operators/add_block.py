"""Add a block."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.genes import BlockGenes, CnnGenes, fitting
from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import nearest, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class AddBlock(Morphism):
    """Add a block after another one: as few layers as allowed, as wide as its input, without pooling.

    It can start as the identity.
    """

    name = "add block"
    preserves = True

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        for b in shuffled(list(range(1, len(CnnGenes(parameters).blocks) + 1)), rng):
            child = CnnGenes(parameters)
            filters = child.blocks[b - 1].layers[-1].filters
            layers = []
            for n in range(1, int(nearest(space, f"b{b + 1}_layers", 1)) + 1):
                type = ("conv", "separable")[rng.integers(2)]
                layers.append(fitting(space, f"b{b + 1}_l{n}", type, filters, int(rng.integers(2, 6))))
            child.blocks.insert(b, BlockGenes(tuple(layers), nearest(space, f"b{b + 1}_pool", False)))
            description = ", ".join(f"{layer.type} {layer.filters} kernel {layer.kernel}" for layer in layers)
            yield child.parameters(), f"b{b + 1} ({description})"
