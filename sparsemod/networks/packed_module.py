"""A user's network on packed sequences, as a network on padded ones."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence


class PackedInput(nn.Module):
    """Packs the valid steps of padded sequences for `network`, whose `forward` takes a PackedSequence."""

    uses_lengths = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the outputs (N, classes) for sequences `x` (N, T, F) with `lengths` (N,) valid steps; all without them."""
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1])
        outputs: Tensor = self.network(pack_padded_sequence(x, lengths.cpu(), True, enforce_sorted=False))
        return outputs
