"""Operators of recurrent layers."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.operators.change_value import ChangeValue
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class AddRecurrent(Morphism):
    """Add a recurrent layer after the others. No weights of a GRU or LSTM pass their input on exactly."""

    name = "add recurrent layer"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        layers = int(parameters["layers"])
        yield {**parameters, "layers": layers + 1}, f"{layers}->{layers + 1}"


class RemoveRecurrent(Morphism):
    """Remove the last of several recurrent layers."""

    name = "remove recurrent layer"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        layers = int(parameters["layers"])
        if layers > 1:
            yield {**parameters, "layers": layers - 1}, f"{layers}->{layers - 1}"


class AddDirection(Morphism):
    """Also read sequences from their end; the layers behind ignore the new units at first."""

    name = "add direction"
    preserves = True
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        if not parameters["bidirectional"]:
            yield {**parameters, "bidirectional": True}, "backwards"


class RemoveDirection(Morphism):
    """Read sequences from their start only."""

    name = "remove direction"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        if parameters["bidirectional"]:
            yield {**parameters, "bidirectional": False}, "backwards"


class ChangeCell(ChangeValue):
    """Change GRU to LSTM or back: the recurrent layers start anew."""

    weight = 0.3

    def __init__(self) -> None:
        super().__init__(r"(?!cell$).*")


class ChangeReadout(ChangeValue):
    """Change between the last step and the mean over steps."""

    weight = 0.4

    def __init__(self) -> None:
        super().__init__(r"(?!readout$).*")
