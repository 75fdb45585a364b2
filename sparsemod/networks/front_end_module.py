"""The torch module of a network behind a front end."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SignalNetwork(nn.Module):
    """Features of signals (`front_end`), each normalized by a batch norm (`norms`), and a network that reads them (`network`).

    Maps (N, C, L), or (N, L, C) without `channels_first`, to the network's outputs. The network reads (N, features, L // hop), or with
    `image` (N, 1, L // hop, features). With `uses_lengths`, `forward` also takes the number of valid samples of each signal.
    """

    def __init__(
        self, front_end: Sequence[nn.Module], network: nn.Module, channels: int, *, hop: int, channels_first: bool, image: bool,
        uses_lengths: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.front_end, self.network = nn.ModuleList(front_end), network
        widths = [channels * int(part.features) for part in front_end]  # type: ignore[arg-type]
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, affine=False) for width in widths)
        self.hop, self.channels_first, self.image = hop, channels_first, image
        self.uses_lengths = uses_lengths and bool(getattr(network, "uses_lengths", False))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See the class."""
        signals = x if self.channels_first else x.transpose(1, 2)
        parts = [norm(part(signals)) for part, norm in zip(self.front_end, self.norms, strict=True)]
        features = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        if self.image:
            features = features.transpose(1, 2).unsqueeze(1)
        made: Tensor
        if lengths is None or not self.uses_lengths:
            made = self.network(features)
        else:
            made = self.network(features, (lengths // self.hop).clamp(min=1))
        return made
