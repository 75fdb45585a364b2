"""Channels of recurrent layers and of reductions over valid steps.

A unit whose rows of both matrices and whose biases are zero has the output zero in each step, since its state
begins at zero. The layers and directions of one module have equally many units: unit u of each goes with unit u
of the others.
"""

import re

import numpy as np

from sparsemod.graph import Operator
from sparsemod.pruning.channels import CHANNELS, Cell, Labeller, Labels

_READ, _UNITS = "a recurrent layer reads them", "they are the units of a recurrent layer"


@CHANNELS.rules("gru", "lstm")
def _recurrent(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Make labels for the units. Keep everything of a layer that is used twice, or whose tensors have other names."""
    units = labeller.fresh(labeller.graph.image(operator.output)[0])
    path = operator.name.rpartition(".")[0]
    same = f"units of {path}"
    labeller.read(same, units)
    cell = _cell(labeller, operator)
    if cell is None:
        labeller.frozen += [(inputs[0], _READ), (units, _UNITS)]
        return units
    rows = np.tile(units, len(labeller.graph.state[str(operator.bias)]) // len(units))
    for name in (cell.of_input, cell.of_state, *cell.biases):
        labeller.row(name, rows)
    labeller.read(cell.of_input, inputs[0])
    labeller.cells[operator.name] = cell
    labeller.new_labels[operator.name] = ((cell.of_input, cell.of_state), units)
    return units


def _cell(labeller: Labeller, operator: Operator) -> Cell | None:
    """Return the tensors of the module; None if they are not known or the module is used more than once."""
    path, _, end = operator.name.rpartition(".")
    others = [o.name for o in labeller.graph.operators if o.traits.recurrent]
    plain = re.compile(rf"{re.escape(path)}\.l\d+(_reverse)?" if path else r"l\d+(_reverse)?")
    mine = [name for name in others if name.rpartition(".")[0] == path]
    if labeller.owned is None or not all(plain.fullmatch(name) for name in mine):
        return None
    before = f"{path}." if path else ""
    names = [f"{before}{part}_{end}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    if any(name not in labeller.owned for name in names[:2]):
        return None
    return Cell(names[0], names[1], tuple(name for name in names[2:] if name in labeller.owned))


@CHANNELS.rules("last_step", "mean_steps")
def _passed_on(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    return inputs[0]
