"""The torch module of the families `rnn` and `cnn_rnn`, named like their parameters."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsemod.networks.initialization import he_normal
from sparsemod.networks.recurrent_parameters import RecurrentPlan
from sparsemod.networks.temporal_plan import TemporalConv
from sparsemod.records import DataInfo
from sparsemod.sequences import mean_steps


class RecurrentNetwork(nn.Module):
    """Convolutions over time (`convs`), a recurrent layer (`rnn`), and dense layers (`head`) on its readout.

    Maps (N, T, F), or (N, C, L) with `channels_first`, to (N, classes). With `uses_lengths`, `forward` also takes the number of valid
    steps of each sample; `pooled` steps of a sample are one step of the recurrent layer.
    """

    def __init__(
        self, convs: nn.Sequential, rnn: nn.RNNBase, head: nn.Sequential, readout: str, channels_first: bool, uses_lengths: bool,
        pooled: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.convs, self.rnn, self.head = convs, rnn, head
        self.readout, self.channels_first, self.uses_lengths, self.pooled = (
            readout,
            channels_first,
            uses_lengths,
            pooled,
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See the class."""
        if len(self.convs):
            x = self.convs(x if self.channels_first else x.transpose(1, 2)).transpose(1, 2)
        elif self.channels_first:
            x = x.transpose(1, 2)
        if lengths is not None and self.pooled > 1:
            lengths = (lengths // self.pooled).clamp(min=1)
        if lengths is None:
            made, states = self.rnn(x)
        else:
            packed, states = self.rnn(pack_padded_sequence(x, lengths.cpu(), True, enforce_sorted=False))
            made = (
                packed
                if self.readout == "last"
                else pad_packed_sequence(packed, True, total_length=x.shape[1])[0]
            )
        if self.readout == "mean":
            return self.head(mean_steps(made, lengths))  # type: ignore[no-any-return]
        last = states[0] if isinstance(states, tuple) else states
        vector = torch.cat([last[-2], last[-1]], 1) if self.rnn.bidirectional else last[-1]
        return self.head(vector)  # type: ignore[no-any-return]


def build(
    convs: Sequence[TemporalConv], plan: RecurrentPlan, data: DataInfo, batch_norm: bool
) -> RecurrentNetwork:
    """Build the network; `data.sequences` decides whether it reads lengths. Convolutions and dense layers are He-initialized."""
    channels = data.axes.image(data.shape)[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    pooled = 1
    for conv in convs:
        layers[conv.name] = _conv(channels, conv, batch_norm)
        if conv.pool:
            layers[f"{conv.name}_pool"] = nn.MaxPool1d(2)
            pooled *= 2
        channels = conv.filters
    kind = nn.GRU if plan.cell == "gru" else nn.LSTM
    dropout = plan.dropout if plan.layers > 1 else 0.0
    rnn = kind(
        channels, plan.units, plan.layers, batch_first=True, dropout=dropout, bidirectional=plan.bidirectional
    )
    features, head = nn.Sequential(layers), _head(plan, data.classes)
    he_normal(features)
    he_normal(head, linear=("classifier",))
    sequences = data.sequences
    return RecurrentNetwork(features, rnn, head, plan.readout, data.axes.channel == 0, sequences, pooled)


def _conv(channels: int, conv: TemporalConv, batch_norm: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if conv.kernel > 1:
        parts["pad"] = nn.ConstantPad1d((conv.kernel - 1, 0), 0.0)
    parts["conv"] = nn.Conv1d(channels, conv.filters, conv.kernel, bias=not batch_norm)
    if batch_norm:
        parts["norm"] = nn.BatchNorm1d(conv.filters)
    parts["relu"] = nn.ReLU()
    return nn.Sequential(parts)


def _head(plan: RecurrentPlan, classes: int) -> nn.Sequential:
    head: OrderedDict[str, nn.Module] = OrderedDict()
    width = plan.width
    for number, units in enumerate(plan.dense, 1):
        head[f"drop{number}"] = nn.Dropout(plan.dropout)
        head[f"d{number}"] = nn.Linear(width, units)
        head[f"relu{number}"] = nn.ReLU()
        width = units
    head["drop"] = nn.Dropout(plan.dropout)
    head["classifier"] = nn.Linear(width, classes)
    return nn.Sequential(head)
