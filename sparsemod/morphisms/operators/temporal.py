"""Add and remove convolutions over time."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import nearest, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values

Conv = tuple[Value, Value, Value]
_PARTS = ("filters", "kernel", "pool")


def _convs(parameters: Mapping[str, Value]) -> list[Conv]:
    return [
        (parameters[f"c{i}_filters"], parameters[f"c{i}_kernel"], parameters[f"c{i}_pool"])
        for i in range(1, int(parameters["convs"]) + 1)
    ]


def _with(parameters: Mapping[str, Value], convs: list[Conv]) -> Values:
    """Return a copy of `parameters` with these convolutions."""
    values: Values = {"convs": len(convs)}
    for i, conv in enumerate(convs, 1):
        values |= {f"c{i}_{part}": value for part, value in zip(_PARTS, conv, strict=True)}
    old = {f"c{i}_{part}" for i in range(1, int(parameters["convs"]) + 1) for part in _PARTS} | {"convs"}
    return values | {name: value for name, value in parameters.items() if name not in old}


class AddConv(Morphism):
    """Add a convolution as wide as the one before it: it starts as the identity."""

    name = "add convolution"
    preserves = True

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        convs = _convs(parameters)
        for place in shuffled(list(range(1, len(convs) + 1)), rng):
            name = f"c{place + 1}"
            filters = nearest(space, f"{name}_filters", convs[place - 1][0])
            kernel = nearest(space, f"{name}_kernel", int(rng.integers(2, 6)))
            made = (filters, kernel, False)
            yield (
                _with(parameters, [*convs[:place], made, *convs[place:]]),
                f"{name} ({filters} filters, kernel {kernel})",
            )


class RemoveConv(Morphism):
    """Remove one of several convolutions."""

    name = "remove convolution"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        convs = _convs(parameters)
        for place in shuffled(list(range(len(convs))), rng) if len(convs) > 1 else []:
            yield _with(parameters, [*convs[:place], *convs[place + 1 :]]), f"c{place + 1}"
