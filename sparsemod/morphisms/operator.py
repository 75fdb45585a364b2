"""What an operator is: a way to change a candidate's parameters within its space."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsemod.records import Value
from sparsemod.space.space import Space, Values


@dataclass(frozen=True)
class Morph:
    """A child: its `parameters` (a dict of its own), the `operators` that made it ("widen b1_l1 8->12"), and whether each of them keeps the
    network's function where the space allows the values it needs (`inherit` says whether it did)."""

    parameters: Values
    operators: tuple[str, ...]
    preserving: bool


class Operator(ABC):
    """One kind of change. `preserves`: inheriting across it keeps the function (in evaluation mode). `weight`: how often it is tried, relative to
    others; changes that inherit badly are tried less."""

    name: ClassVar[str]
    preserves: ClassVar[bool]
    weight: ClassVar[float] = 1.0

    @abstractmethod
    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """Changed copies of `parameters`, in random order, each with what was changed. They need not be valid."""

    def apply(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> tuple[Values, str] | None:
        """The first candidate that is valid in `space` and differs, with a description; None when there is none."""
        for values, what in self.candidates(space, parameters, rng):
            if space.is_valid(values):
                child = space.validate(values)
                if space.key(child) != space.key(parameters):
                    return child, f"{self.name} {what}"
        return None
