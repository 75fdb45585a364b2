"""Change one parameter of any kind."""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.operators.change_window import MAX_LEN
from sparsemod.morphisms.steps import change, elsewhere, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class ChangeValue(Morphism):
    """Change one parameter that does not match `structure`: learning rate, sparsity and the like.

    Without `structure`, change any parameter, for families without operators. Newly active parameters get
    their defaults.
    """

    name = "change"
    preserves = False

    def __init__(self, structure: str = "") -> None:
        self._structure = re.compile(structure) if structure else None

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        names = [n for n in parameters if self._structure is None or not self._structure.fullmatch(n)]
        for name in shuffled(names, rng):
            value = elsewhere(space, name, parameters[name], rng)
            if value is not None:
                yield (
                    space.complete({**parameters, name: value}),
                    f"{name} {change(parameters[name], value)}",
                )


class ChangeSetting(ChangeValue):
    """Change one parameter that does not affect the network: the child inherits the weights unchanged."""

    preserves = True

    def __init__(self, structure: str) -> None:
        super().__init__(rf"{structure}|{MAX_LEN}")


class ChangeDropout(ChangeValue):
    """Change the dropout probability, which has no effect in evaluation mode."""

    preserves = True

    def __init__(self) -> None:
        super().__init__(r"(?!dropout$).*")
