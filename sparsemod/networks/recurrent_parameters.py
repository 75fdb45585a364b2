"""Parameters that the families `rnn` and `cnn_rnn` share: the recurrent layers and the dense layers after them."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsemod.records import Value
from sparsemod.space.parameters import Categorical, Condition, Integer, Parameter, Real

CELLS, READOUTS = ("gru", "lstm"), ("last", "mean")


@dataclass(frozen=True)
class RecurrentPlan:
    """The recurrent part of a network: `readout` makes a vector of the last layer's steps; `dense` are the hidden layers' widths."""

    cell: str
    layers: int
    units: int
    bidirectional: bool
    readout: str
    dense: tuple[int, ...]
    dropout: float

    @property
    def width(self) -> int:
        """Width of the vector that enters the dense layers."""
        return self.units * (2 if self.bidirectional else 1)


def parameters(
    max_layers: int,
    min_units: int,
    max_units: int,
    bidirectional: bool,
    max_dense: int,
    max_dense_width: int,
    max_dropout: float,
) -> list[Parameter]:
    """Return the parameters `cell`, `layers`, `units`, `bidirectional`, `readout`, `dense`, `d{i}_width`, `dropout`."""
    found: list[Parameter] = [
        Categorical(name="cell", values=CELLS),
        Integer(name="layers", low=1, high=max_layers),
        Integer(name="units", low=min_units, high=max_units, log=True),
        Categorical(name="bidirectional", values=(False, True) if bidirectional else (False,)),
        Categorical(name="readout", values=READOUTS),
        Integer(name="dense", low=0, high=max_dense),
    ]
    for i in range(1, max_dense + 1):
        when = (Condition(parameter="dense", values=tuple(range(i, max_dense + 1))),)
        found.append(Integer(name=f"d{i}_width", low=10, high=max_dense_width, log=True, when=when))
    return [*found, Real(name="dropout", low=0.0, high=max_dropout)]


def recurrent_plan(values: Mapping[str, Value]) -> RecurrentPlan:
    """Return the recurrent part of a candidate."""
    return RecurrentPlan(
        str(values["cell"]), int(values["layers"]), int(values["units"]), bool(values["bidirectional"]),
        str(values["readout"]), tuple(int(values[f"d{i}_width"]) for i in range(1, int(values["dense"]) + 1)),
        float(values["dropout"]),
    )  # fmt: skip
