"""Change the mapping of the last feature map to a vector."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class ChangeHead(Morphism):
    """Switch between global average and flatten. (Only average to flatten preserves the function.)"""

    name = "change head"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        head = "flatten" if parameters["head"] == "average" else "average"
        yield {**parameters, "head": head}, f"{parameters['head']}->{head}"
