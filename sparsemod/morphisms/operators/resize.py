"""Base class of operators that increase or decrease one number of a layer."""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import change, higher, lower, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class Resize(Morphism):
    """Increase (`up`) or decrease one parameter that `pattern` matches.

    Its first group names the layer in the description.
    """

    up: bool

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        sites = [match for match in map(self._pattern.fullmatch, parameters) if match]
        for match in shuffled(sites, rng):
            name = match.group()
            value = (higher if self.up else lower)(space, name, parameters[name], rng)
            if value is not None:
                yield {**parameters, name: value}, f"{match.group(1)} {change(parameters[name], value)}"
