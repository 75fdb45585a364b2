"""Channels of recurrent layers and of reductions over valid steps."""

from sparsemod.graph import Operator
from sparsemod.pruning.channels import CHANNELS, Labeller, Labels

_READ, _UNITS = "a recurrent layer reads them", "they are the units of a recurrent layer"


@CHANNELS.rules("gru", "lstm")
def _recurrent(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Keep every feature of the input and every unit."""
    made = labeller.fresh(labeller.graph.image(operator.output)[0])
    labeller.frozen += [(inputs[0], _READ), (made, _UNITS)]
    return made


@CHANNELS.rules("last_step", "mean_steps")
def _passed_on(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    return inputs[0]
