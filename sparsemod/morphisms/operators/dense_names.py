"""Parameter names of a family's hidden dense layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsemod.records import Value
from sparsemod.space.space import Values


@dataclass(frozen=True)
class DenseNames:
    """`count` is the parameter for the number of layers, `{letter}{i}_width` for the width of layer i (from 1)."""

    count: str
    letter: str

    def width(self, number: int) -> str:
        """Return the name of the width parameter of layer `number` (from 1)."""
        return f"{self.letter}{number}_width"

    def widths(self, parameters: Mapping[str, Value]) -> list[Value]:
        """Return all widths, in order."""
        return [parameters[self.width(i)] for i in range(1, int(parameters[self.count]) + 1)]

    def write(self, parameters: Mapping[str, Value], widths: Sequence[Value]) -> Values:
        """Return a copy of `parameters` with these widths."""
        values = dict(parameters)
        for i in range(1, int(parameters[self.count]) + 1):
            del values[self.width(i)]
        values[self.count] = len(widths)
        return values | {self.width(i): width for i, width in enumerate(widths, 1)}


CNN_DENSE = DenseNames("dense", "d")
MLP_DENSE = DenseNames("layers", "l")
