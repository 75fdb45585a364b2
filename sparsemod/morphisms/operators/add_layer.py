"""Add a layer to a block."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.genes import CnnGenes, fitting
from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class AddLayer(Morphism):
    """Add a convolutional or separable layer as wide as the layer before it: it can start as the identity.

    Source: Chen et al., "Net2Net", 2016.
    """

    name = "add layer"
    preserves = True

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        now = CnnGenes(parameters)
        sites = [(b, place) for b, block in enumerate(now.blocks) for place in range(len(block.layers) + 1)]
        for b, place in shuffled(sites, rng):
            before = now.before(b, place)
            if before is None:
                continue
            name = f"b{b + 1}_l{place + 1}"
            type = ("conv", "separable")[rng.integers(2)]
            layer = fitting(space, name, type, before.filters, int(rng.integers(2, 6)))
            child = CnnGenes(parameters)
            child.blocks[b] = child.blocks[b].insert(place, layer)
            yield child.parameters(), f"{name} ({layer})"
