"""The family `zoo`: published networks by name.

Its one parameter, `network`, is one of the names in the option `networks`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.errors import InvalidInput
from sparsemod.networks.family import family
from sparsemod.networks.zoo.catalogue import network
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Categorical, Fixed, Parameter
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("zoo")
class Zoo:
    """Published networks: wide ResNets, ResNets, VGG, DARTS, MobileNetV2, ShuffleNet.

    Options: `networks`, names separated by commas, such as "wrn-16-1, resnet-8". Raises UnknownName that names the option.
    """

    checked = True  # the output shape needs no check by a forward pass

    def __init__(self, networks: str = "wrn-10-0.25, resnet-8") -> None:
        names = [name.strip() for name in networks.split(",")] if isinstance(networks, str) else []
        if not names or len(set(names)) < len(names):
            raise InvalidInput(
                "networks", networks, 'names separated by commas, each once: "wrn-16-1, resnet-8"'
            )
        self.networks = tuple(network(name, "networks").name for name in names)

    def space(self, data: DataInfo) -> Space:
        """Return the choice of the network. Raises InvalidInput for data that are not images."""
        _images(data)
        choice: Parameter = (
            Fixed(name="network", value=self.networks[0])
            if len(self.networks) == 1
            else Categorical(name="network", values=self.networks)
        )
        return Space([choice])

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized. Raises BuildError for images that are too small."""
        _images(data)
        return network(str(parameters["network"])).build(data.shape, data.classes)


def _images(data: DataInfo) -> None:
    if len(data.shape) != 3:
        raise InvalidInput(
            "network.family",
            "zoo",
            f"needs images of shape (C, H, W); samples of {data.name!r} have shape {data.shape}",
        )
