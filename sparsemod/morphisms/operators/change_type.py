"""Change a layer's type."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import elsewhere, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class ChangeType(Morphism):
    """Change a layer between conv, down and separable. (Only separable to conv preserves the function.)"""

    name = "change type"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        for name in shuffled([n for n in parameters if n.endswith("_type")], rng):
            new_type = elsewhere(space, name, parameters[name], rng)
            if new_type is not None:
                yield (
                    {**parameters, name: new_type},
                    f"{name.removesuffix('_type')} {parameters[name]}->{new_type}",
                )
