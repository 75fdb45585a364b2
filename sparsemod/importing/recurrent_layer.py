"""Recurrent layers of model files, as torch layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

GATES = {"gru": 3, "lstm": 4}
"""Gates by cell. Their order is torch's: reset, update, new for GRU; input, forget, cell, output for LSTM."""


class Recurrent(nn.Module):
    """One layer of GRU or LSTM over samples (T, F), in one or both directions.

    The result is (T, directions x units); with `last` the state after the last step of each direction, (directions x units,).
    """

    def __init__(self, layer: nn.GRU | nn.LSTM, backwards: bool, last: bool) -> None:
        super().__init__()
        self.layer, self.backwards, self.last = layer, backwards, last

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer."""
        if self.backwards:
            x = x.flip(1)
        steps, state = self.layer(x)
        if not self.last:
            return steps.flip(1) if self.backwards else steps  # type: ignore[no-any-return]
        if isinstance(self.layer, nn.LSTM):
            state = state[0]
        return torch.cat([state[-2], state[-1]], 1) if self.layer.bidirectional else state[-1]


def recurrent_layer(attributes: Mapping[str, Any]) -> nn.Module:
    """Return the layer of a step `recurrent`, with its weights.

    `directions`: for each direction input weights (gates x units, F), state weights (gates x units, units) and both biases
    (gates x units,), the gates in torch's order.
    """
    directions = attributes["directions"]
    units, inputs = directions[0]["hidden"].shape[1], directions[0]["input"].shape[1]
    kind = nn.GRU if attributes["cell"] == "gru" else nn.LSTM
    layer = kind(inputs, units, batch_first=True, bidirectional=len(directions) == 2)
    names = {"input": "weight_ih", "hidden": "weight_hh", "input_bias": "bias_ih", "hidden_bias": "bias_hh"}
    with torch.no_grad():
        for number, direction in enumerate(directions):
            for key, name in names.items():
                target = getattr(layer, f"{name}_l0{'_reverse' if number else ''}")
                target.copy_(torch.from_numpy(np.array(direction[key], np.float32)))
    return Recurrent(layer, attributes["backwards"], attributes["last"])
