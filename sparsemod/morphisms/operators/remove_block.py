"""Remove a block."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.genes import CnnGenes
from sparsemod.morphisms.mobile_genes import MobileGenes
from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class RemoveBlock(Morphism):
    """Remove one of several blocks. `genes`: the structure of the family's candidates."""

    name = "remove block"
    preserves = False
    weight = 0.4

    def __init__(self, genes: type[CnnGenes] | type[MobileGenes]) -> None:
        self._genes = genes

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        blocks = len(self._genes(parameters).blocks)
        for b in shuffled(list(range(blocks)), rng) if blocks > 1 else []:
            child = self._genes(parameters)
            del child.blocks[b]
            yield child.parameters(), f"b{b + 1}"
