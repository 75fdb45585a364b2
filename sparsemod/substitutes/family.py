"""A network family whose convolutions a substitute replaces. Imports no torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sparsemod.errors import InvalidInput
from sparsemod.networks.family import Family
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Categorical, Fixed, Parameter
from sparsemod.space.space import Space
from sparsemod.substitutes.base import NONE, check_choice

if TYPE_CHECKING:
    from torch import nn

PARAMETER = "substitute"
"""The parameter of the space that chooses a substitute."""


def with_substitutes(family: Family, choices: Sequence[str], skip: Sequence[str] | None = None) -> Family:
    """Return `family`, or with `choices` the family with the parameter `substitute`, which chooses one of them.

    `skip` holds the layers that keep their convolutions (None: the network's own list). Raises InvalidInput or
    UnknownName that names `network.substitutes`.
    """
    if not choices:
        if skip is not None:
            raise InvalidInput("network.substitutes_skip", list(skip), "only with network.substitutes")
        return family
    names = [check_choice(choice, f"network.substitutes.{place}") for place, choice in enumerate(choices)]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidInput(f"network.substitutes.{place}", choices[place], "each substitute once")
    return Family(family.name, _Substituted(family, tuple(names), skip), family.options)


class _Substituted:
    """The implementation of a family with substitutes."""

    checked = True  # the inner family has checked the shape, and substitution keeps it

    def __init__(self, family: Family, choices: tuple[str, ...], skip: Sequence[str] | None) -> None:
        self.family, self.choices, self.skip = family, choices, skip
        # The generic operators: layers of a substitute have other names and shapes than those of the family.
        self.morphism_set = f"{family.morphisms} with substitutes"

    def space(self, data: DataInfo) -> Space:
        """Return the family's space with the choice. Raises InvalidInput when the family has such a parameter itself."""
        own = self.family.space(data)
        if PARAMETER in own:
            allowed = f"only for a family without a parameter {PARAMETER!r} of its own"
            raise InvalidInput("network.substitutes", list(self.choices), allowed)
        choice: Parameter = (
            Fixed(name=PARAMETER, value=self.choices[0])
            if len(self.choices) == 1
            else Categorical(name=PARAMETER, values=self.choices)
        )
        return Space([*own.parameters, choice], own.constraints)

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the family's network and substitute its convolutions. Raises BuildError, InvalidInput."""
        from sparsemod.substitutes.substitution import substitute

        chosen = str(parameters[PARAMETER])
        module = self.family.build(_Without(parameters, PARAMETER), data)
        if chosen != NONE:
            try:
                substitute(module, chosen, self.skip)
            except InvalidInput as error:
                raise InvalidInput("network.substitutes_skip", error.value, error.allowed) from None
        return module


class _Without(Mapping[str, Value]):
    """A mapping without one of its names; a look-up reaches the mapping itself, which may record it."""

    def __init__(self, values: Mapping[str, Value], name: str) -> None:
        self._values, self._name = values, name

    def __getitem__(self, name: str) -> Value:
        if name == self._name:
            raise KeyError(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._values if name != self._name)

    def __len__(self) -> int:
        return len(self._values) - (self._name in self._values)
