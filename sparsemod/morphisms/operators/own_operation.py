"""A user's own operation: a function that changes a dict of parameters, as SpArSeMod's morphisms do."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.morphisms.morphism import Morphism
from sparsemod.records import Value
from sparsemod.registry import summarize_error
from sparsemod.space.space import Space, Values

_TRIES = 8
"""Calls of a function until its result is valid; many draw at random and may draw the old value."""


class OwnOperation(Morphism):
    """Calls the function on a copy of the parameters.

    The function may draw from Python's `random` and `numpy.random`, which are seeded for each call and restored
    after it. Values outside the space are moved to the nearest allowed one. Parameters that become active get the
    middle of their range. Whatever is then invalid or unchanged is dropped.
    """

    name: ClassVar[str] = "own"
    preserves: ClassVar[bool] = False

    def __init__(self, name: str, function: Callable[[dict[str, Value]], Any]) -> None:
        self._name, self._function = name, function

    def apply(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> tuple[Values, str] | None:
        """See Morphism. The description is the name of the operation."""
        made = super().apply(space, parameters, rng)
        return None if made is None else (made[0], self._name)

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism. Raises InvalidInput when the function fails or returns no parameters."""
        for _ in range(_TRIES):
            yield self._within(space, self._call(dict(parameters), int(rng.integers(2**32)))), ""

    def _call(self, copy: dict[str, Value], seed: int) -> Mapping[str, Any]:
        before, numpy_before = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            result = self._function(copy)
        except Exception as error:  # from the user's code
            allowed = f"a function that changes parameters; with {copy} it raised {summarize_error(error)}"
            raise InvalidInput("operations", self._name, allowed) from error
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)
        changed = copy if result is None else result
        if not isinstance(changed, Mapping):
            raise InvalidInput(
                "operations", self._name, f"a function that returns a dict; it returned {changed!r}"
            )
        return changed

    @staticmethod
    def _within(space: Space, values: Mapping[str, Any]) -> Values:
        """Return the values inside the space: each clipped, missing active ones at their default, others dropped."""
        within: Values = {}
        for parameter in space.parameters:
            name = parameter.name
            if all(c.parameter in within and within[c.parameter] in c.values for c in parameter.when):
                value = values.get(name, parameter.default)
                try:
                    within[name] = parameter.clip(value)
                except (TypeError, ValueError):
                    within[name] = parameter.default
        return within
