"""The interface of an operator, which changes a candidate's parameters within its space."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsemod.records import Value
from sparsemod.space.space import Space, Values


@dataclass(frozen=True)
class Morph:
    """A child: its `parameters` (a separate dict) and the `operators` that made it ("widen b1_l1 8->12").

    `preserving`: whether each operator preserves the network's function, provided that the space allows the
    values it needs. `inherit` reports whether the function was preserved.
    """

    parameters: Values
    operators: tuple[str, ...]
    preserving: bool


class Morphism(ABC):
    """One kind of change.

    `preserves`: inheritance across the change preserves the function in evaluation mode. `weight`: relative
    frequency of use; lower for changes that inherit badly.
    """

    name: ClassVar[str]
    preserves: ClassVar[bool]
    weight: ClassVar[float] = 1.0

    @abstractmethod
    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """Yield changed copies of `parameters` in random order, each with a description.

        They may be invalid.
        """

    def apply(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> tuple[Values, str] | None:
        """Return the first valid and different candidate with a description; None when none exists."""
        for values, description in self.candidates(space, parameters, rng):
            if space.is_valid(values):
                child = space.validate(values)
                if space.key(child) != space.key(parameters):
                    return child, f"{self.name} {description}"
        return None
