"""Change the length of the windows of sequences."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import change, elsewhere
from sparsemod.records import Value
from sparsemod.space.space import Space, Values

MAX_LEN = "max_len"


class ChangeWindow(Morphism):
    """Change `max_len`, where it is searched: the network reads longer or shorter windows."""

    name = "change window"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        if MAX_LEN in parameters:
            value = elsewhere(space, MAX_LEN, parameters[MAX_LEN], rng)
            if value is not None:
                yield {**parameters, MAX_LEN: value}, f"{change(parameters[MAX_LEN], value)} steps"
