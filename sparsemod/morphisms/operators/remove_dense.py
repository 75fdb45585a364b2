"""Remove a dense layer."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.operators.dense_names import DenseNames
from sparsemod.morphisms.steps import shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class RemoveDense(Morphism):
    """Remove one hidden dense layer."""

    name = "remove dense"
    preserves = False

    def __init__(self, names: DenseNames) -> None:
        self._names = names

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        widths = self._names.widths(parameters)
        for place in shuffled(list(range(len(widths))), rng):
            child = self._names.write(parameters, [*widths[:place], *widths[place + 1 :]])
            yield child, self._names.width(place + 1).removesuffix("_width")
