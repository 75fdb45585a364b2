"""Switch the pooling at the end of a block."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class ChangePooling(Morphism):
    """Switch pooling on or off."""

    name = "pooling"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        for name in shuffled([n for n in parameters if n.endswith("_pool")], rng):
            on = not parameters[name]
            yield {**parameters, name: on}, f"{name.removesuffix('_pool')} {'on' if on else 'off'}"
