"""The family `mlp`: dense networks. Samples of any shape are flattened.

Parameters, in order: `layers` (number of hidden layers), `l{i}_width` for each, `dropout` (before each hidden
layer except the first and before the classifier). Each hidden layer is a linear map, batch norm (option) and
relu.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.networks.family import family
from sparsemod.networks.options import flag, share, whole
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Condition, Integer, Parameter, Real
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("mlp")
class Mlp:
    """Dense networks with relu.

    Options: `max_layers` (hidden layers), `min_width`, `max_width`, `max_dropout`, `batch_norm`. Raises
    InvalidInput, which names the option.
    """

    checked = True  # the output shape needs no check by a forward pass

    def __init__(
        self,
        max_layers: int = 3,
        min_width: int = 4,
        max_width: int = 256,
        max_dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        self.max_layers = whole("max_layers", max_layers, 1, 20)
        self.max_width = whole("max_width", max_width, 1, 65536)
        self.min_width = whole("min_width", min_width, 1, self.max_width)
        self.max_dropout = share("max_dropout", max_dropout)
        self.batch_norm = flag("batch_norm", batch_norm)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists."""
        parameters: list[Parameter] = [Integer(name="layers", low=1, high=self.max_layers)]
        for i in range(1, self.max_layers + 1):
            when = (
                ()
                if i == 1
                else (Condition(parameter="layers", values=tuple(range(i, self.max_layers + 1))),)
            )
            parameters.append(
                Integer(name=f"l{i}_width", low=self.min_width, high=self.max_width, log=True, when=when)
            )
        return Space([*parameters, Real(name="dropout", low=0.0, high=self.max_dropout)])

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized."""
        from sparsemod.networks.mlp_module import build

        widths = [int(parameters[f"l{i}_width"]) for i in range(1, int(parameters["layers"]) + 1)]
        return build(widths, float(parameters["dropout"]), data, self.batch_norm)
