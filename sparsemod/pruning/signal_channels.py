"""Channels of the layers that make features of frames."""

from sparsemod.graph import Operator
from sparsemod.pruning.channels import CHANNELS, Labeller, Labels


@CHANNELS.rules("band_energies", "window_statistics")
def _features(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Keep every channel of the samples and every feature."""
    made = labeller.fresh(labeller.graph.image(operator.output)[0])
    labeller.frozen += [(inputs[0], "features are made of them"), (made, "they are features of a signal")]
    return made
