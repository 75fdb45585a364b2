"""Change the dilation of a layer."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import change, elsewhere, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class ChangeDilation(Morphism):
    """Change the distance between the taps of a kernel; taps that meet the same step keep their weights."""

    name = "change dilation"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        for name in shuffled([n for n in parameters if n.endswith("_dilation")], rng):
            value = elsewhere(space, name, parameters[name], rng)
            if value is not None:
                layer = name.removesuffix("_dilation")
                yield {**parameters, name: value}, f"{layer} {change(parameters[name], value)}"
