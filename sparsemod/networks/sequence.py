"""The family `sequence`: networks defined layer by layer in the spec.

Its parameter is `activation`, where the definition has the layer `activation`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.errors import InvalidInput
from sparsemod.networks.family import family
from sparsemod.networks.sequence_text import ACTIVATIONS, parse_sequence, searches_activation
from sparsemod.networks.sequences import SEQUENCES
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Categorical, Fixed, Parameter
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("sequence")
class SequenceFamily:
    """A sequence of layers that the spec defines, or a known one by its name.

    Options: `layers`, such as "conv 16, relu, max 2, fc 32, relu", or a name such as liao_cifar_bn; `activations`, the
    choices for the layer `activation`, separated by commas. Raises InvalidInput, which names the option.
    """

    def __init__(self, layers: str = "conv", activations: str = "relu, tanh") -> None:
        name = layers.strip() if isinstance(layers, str) else ""
        self.steps = parse_sequence(SEQUENCES.get(name, layers))
        chosen = [one.strip() for one in activations.split(",")] if isinstance(activations, str) else []
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(ACTIVATIONS):
            raise InvalidInput(
                "activations", activations, f"names separated by commas, each once: {', '.join(ACTIVATIONS)}"
            )
        self.activations = tuple(chosen)

    def space(self, data: DataInfo) -> Space:
        """Return the choice of the activation, if the definition leaves it open."""
        if not searches_activation(self.steps):
            return Space([])
        choice: Parameter = (
            Fixed(name="activation", value=self.activations[0])
            if len(self.activations) == 1
            else Categorical(name="activation", values=self.activations)
        )
        return Space([choice])

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized. Raises BuildError that names a layer that does not fit the samples."""
        from sparsemod.networks.sequence_module import sequence

        return sequence(self.steps, data.shape, data.classes, str(parameters.get("activation", "")))
