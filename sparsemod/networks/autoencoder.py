"""The family `autoencoder`: dense networks that reproduce their input through a narrow layer.

Parameters, in order: `layers` (layers of the encoder before the code), `l{i}_width` for each, `code` (width of the
narrow layer). The decoder mirrors the encoder. The network has one output for each number of the flattened sample.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.networks.family import family
from sparsemod.networks.options import flag, whole
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Condition, Integer, Parameter
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("autoencoder")
class Autoencoder:
    """Dense networks that reproduce their input through a narrow layer, for the task anomaly.

    Options: `max_layers`, `min_width`, `max_width`, `max_code`, `batch_norm`. Raises InvalidInput, which names the
    option.
    """

    task = "anomaly"
    checked = True  # the output shape needs no check by a forward pass

    def __init__(
        self,
        max_layers: int = 2,
        min_width: int = 4,
        max_width: int = 128,
        max_code: int = 16,
        batch_norm: bool = False,
    ) -> None:
        self.max_layers = whole("max_layers", max_layers, 1, 10)
        self.max_width = whole("max_width", max_width, 1, 65536)
        self.min_width = whole("min_width", min_width, 1, self.max_width)
        self.max_code = whole("max_code", max_code, 1, 4096)
        self.batch_norm = flag("batch_norm", batch_norm)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists."""
        parameters: list[Parameter] = [Integer(name="layers", low=1, high=self.max_layers)]
        for i in range(1, self.max_layers + 1):
            values = tuple(range(i, self.max_layers + 1))
            when = () if i == 1 else (Condition(parameter="layers", values=values),)
            parameters.append(
                Integer(name=f"l{i}_width", low=self.min_width, high=self.max_width, log=True, when=when)
            )
        return Space([*parameters, Integer(name="code", low=1, high=self.max_code, log=True)])

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized."""
        from sparsemod.networks.mlp_module import build

        widths = [int(parameters[f"l{i}_width"]) for i in range(1, int(parameters["layers"]) + 1)]
        return build([*widths, int(parameters["code"]), *reversed(widths)], 0.0, data, self.batch_norm)
