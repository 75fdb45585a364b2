"""The family `rnn`: recurrent networks for sequences, in the space of SpArSeMod.

Parameters, in order:

- `cell`: "gru" or "lstm"; `layers`: number of recurrent layers; `units` of each of them; `bidirectional`;
- `readout`: "last", the state after the last valid step (of the other direction after the first step), or "mean" over the valid
  steps;
- `dense`: number of hidden dense layers after it, each with `d{i}_width`; `dropout` between recurrent layers, before every dense
  layer and the classifier.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.networks.family import family
from sparsemod.networks.options import flag, share, whole
from sparsemod.networks.recurrent_parameters import parameters as recurrent_parameters
from sparsemod.networks.recurrent_parameters import recurrent_plan
from sparsemod.records import DataInfo, Value
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("rnn", layouts=["time-features", "channels-length"])
class Rnn:
    """Recurrent networks: layers of GRU or LSTM, then dense layers.

    Options: `max_layers`, `min_units`, `max_units` (of a layer), `bidirectional` (whether networks may read sequences in both
    directions), `max_dense` (hidden dense layers), `max_dense_width`, `max_dropout`. Raises InvalidInput, which names the option.
    """

    checked = True  # the output shape needs no check by a forward pass

    def __init__(
        self,
        max_layers: int = 5,
        min_units: int = 8,
        max_units: int = 512,
        bidirectional: bool = True,
        max_dense: int = 1,
        max_dense_width: int = 100,
        max_dropout: float = 0.5,
    ) -> None:
        self.max_layers = whole("max_layers", max_layers, 1, 10)
        self.max_units = whole("max_units", max_units, 1, 4096)
        self.min_units = whole("min_units", min_units, 1, self.max_units)
        self.bidirectional = flag("bidirectional", bidirectional)
        self.max_dense = whole("max_dense", max_dense, 0, 10)
        self.max_dense_width = whole("max_dense_width", max_dense_width, 10, 65536)
        self.max_dropout = share("max_dropout", max_dropout)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists."""
        return Space(
            recurrent_parameters(
                self.max_layers, self.min_units, self.max_units, self.bidirectional, self.max_dense, self.max_dense_width, self.max_dropout
            )
        )  # fmt: skip

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network."""
        from sparsemod.networks.recurrent_module import build

        return build((), recurrent_plan(parameters), data, batch_norm=False)
