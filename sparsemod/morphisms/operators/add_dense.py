"""Add a dense layer."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.operators.dense_names import DenseNames
from sparsemod.morphisms.steps import higher, nearest, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class AddDense(Morphism):
    """Add a hidden dense layer.

    After another hidden layer, it has that layer's width and can start as the identity. In first place, it
    has any width: it can start as two signed copies of the next layer if it is at least twice as wide, or as
    the identity if it is as wide as its input.
    """

    name = "add dense"
    preserves = True

    def __init__(self, names: DenseNames) -> None:
        self._names = names

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        widths = self._names.widths(parameters)
        for place in shuffled(list(range(len(widths) + 1)), rng):
            name = self._names.width(place + 1)
            if place:
                width = nearest(space, name, widths[place - 1])
            else:
                # Twice the next layer's width suffices for the signed copies. The number of classes is
                # unknown here.
                width = nearest(space, name, 2 * int(widths[0]) if widths else int(rng.integers(20, 65)))
                width = higher(space, name, width, rng) or width if rng.random() < 0.3 else width
            child = self._names.write(parameters, [*widths[:place], width, *widths[place:]])
            yield child, f"{name.removesuffix('_width')} ({width} units)"
