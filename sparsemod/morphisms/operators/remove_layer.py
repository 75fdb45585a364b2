"""Remove a layer from a block."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.genes import CnnGenes
from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class RemoveLayer(Morphism):
    """Remove one layer from a block with several."""

    name = "remove layer"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        now = CnnGenes(parameters)
        sites = [
            (b, n)
            for b, block in enumerate(now.blocks)
            for n in range(len(block.layers))
            if len(block.layers) > 1
        ]
        for b, place in shuffled(sites, rng):
            child = CnnGenes(parameters)
            child.blocks[b] = child.blocks[b].without(place)
            yield child.parameters(), f"b{b + 1}_l{place + 1}"
