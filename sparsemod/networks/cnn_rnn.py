"""The family `cnn_rnn`: causal convolutions over time, then recurrent layers.

Parameters, in order:

- `convs`: number of convolutions; for each `c{i}_filters`, `c{i}_kernel`, and `c{i}_pool`: max-pooling of two steps after it;
- those of the family `rnn`.

A convolution reads a step and the steps before it, with zeros before the first one, so that its results do not depend on what follows.
Batch norm (option) and relu follow each. Pooling drops an odd last step. Valid steps: half of them after each pooling, rounded down,
at least one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.errors import BuildError
from sparsemod.networks.family import family
from sparsemod.networks.options import flag, share, whole
from sparsemod.networks.recurrent_parameters import parameters as recurrent_parameters
from sparsemod.networks.recurrent_parameters import recurrent_plan
from sparsemod.networks.temporal_plan import TemporalConv, temporal_plan
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Categorical, Condition, Integer, Parameter
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("cnn_rnn", layouts=["time-features", "channels-length"])
class CnnRnn:
    """Causal convolutions over time with relu and pooling, then layers of GRU or LSTM, then dense layers.

    Options: `max_convs`, `max_filters`, `max_kernel`, `batch_norm` (after each convolution), `max_layers` (recurrent ones),
    `min_units`, `max_units` (of a recurrent layer), `bidirectional` (whether networks may read sequences in both directions),
    `max_dense` (hidden dense layers), `max_dense_width`, `max_dropout`. Raises InvalidInput, which names the option.
    """

    checked = True  # the output shape needs no check by a forward pass

    def __init__(
        self,
        max_convs: int = 3,
        max_filters: int = 100,
        max_kernel: int = 5,
        batch_norm: bool = True,
        max_layers: int = 2,
        min_units: int = 8,
        max_units: int = 256,
        bidirectional: bool = True,
        max_dense: int = 1,
        max_dense_width: int = 100,
        max_dropout: float = 0.5,
    ) -> None:
        self.max_convs = whole("max_convs", max_convs, 1, 20)
        self.max_filters = whole("max_filters", max_filters, 1, 4096)
        self.max_kernel = whole("max_kernel", max_kernel, 2, 63)
        self.batch_norm = flag("batch_norm", batch_norm)
        self.max_layers = whole("max_layers", max_layers, 1, 10)
        self.max_units = whole("max_units", max_units, 1, 4096)
        self.min_units = whole("min_units", min_units, 1, self.max_units)
        self.bidirectional = flag("bidirectional", bidirectional)
        self.max_dense = whole("max_dense", max_dense, 0, 10)
        self.max_dense_width = whole("max_dense_width", max_dense_width, 10, 65536)
        self.max_dropout = share("max_dropout", max_dropout)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists."""
        found: list[Parameter] = [Integer(name="convs", low=1, high=self.max_convs)]
        for i in range(1, self.max_convs + 1):
            when = (
                () if i == 1 else (Condition(parameter="convs", values=tuple(range(i, self.max_convs + 1))),)
            )
            found += [
                Integer(name=f"c{i}_filters", low=1, high=self.max_filters, log=True, when=when),
                Integer(name=f"c{i}_kernel", low=1, high=self.max_kernel, when=when),
                Categorical(name=f"c{i}_pool", values=(False, True), when=when),
            ]
        return Space(
            found
            + recurrent_parameters(
                self.max_layers, self.min_units, self.max_units, self.bidirectional, self.max_dense, self.max_dense_width, self.max_dropout
            )
        )  # fmt: skip

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network. Raises BuildError when a sequence is too short for its poolings."""
        convs = temporal_plan(parameters)
        _check(convs, data)
        from sparsemod.networks.recurrent_module import build

        return build(convs, recurrent_plan(parameters), data, self.batch_norm)


def _check(convs: tuple[TemporalConv, ...], data: DataInfo) -> None:
    steps = data.axes.image(data.shape)[2]
    for conv in convs:
        if conv.pool and steps < 2:
            raise BuildError(
                f"{conv.name}: a sequence of {steps} step cannot be pooled; the network is too deep for {data.name}",
                layer=conv.name,
            )
        steps = steps // 2 if conv.pool else steps
