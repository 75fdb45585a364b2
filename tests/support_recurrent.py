"""Random networks on sequences: recurrent layers, one-dimensional convolutions and pools, with and without lengths."""

import numpy as np
import torch
from support_graph import randomize
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.sequences import last_step, mean_steps

ENDS = ("last", "mean", "state", "all")


class SequenceNetwork(nn.Module):
    """Convolutions over time, a recurrent layer, and one of ENDS; samples are (steps, features)."""

    def __init__(
        self, convs: nn.Sequential, layer: nn.RNNBase, end: str, classifier: nn.Module, pooled: int
    ) -> None:
        super().__init__()
        self.convs, self.layer, self.end, self.classifier, self.pooled = convs, layer, end, classifier, pooled

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.ended(*self.steps(x)))

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.convs):
            x = self.convs(x.transpose(1, 2)).transpose(1, 2)
        first = self.layer.batch_first
        made, states = self.layer(x if first else x.transpose(0, 1))
        return made if first else made.transpose(0, 1), states[0] if isinstance(states, tuple) else states

    def ended(self, made: Tensor, states: Tensor) -> Tensor:
        if self.end == "last":
            return made[:, -1]
        if self.end == "mean":
            return made.mean(1)
        if self.end == "all":
            return made.flatten(1)
        return torch.cat([states[-2], states[-1]], 1) if self.layer.bidirectional else states[-1]


class PackedNetwork(SequenceNetwork):
    """The same network on packed sequences."""

    uses_lengths = True

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1])
        if len(self.convs):
            x = self.convs(x.transpose(1, 2)).transpose(1, 2)
        steps = x.shape[1]
        if self.pooled > 1:
            lengths = (lengths // self.pooled).clamp(min=1)
        first = self.layer.batch_first
        packed = pack_padded_sequence(
            x if first else x.transpose(0, 1), lengths.cpu(), first, enforce_sorted=False
        )
        made, states = self.layer(packed)
        padded, _ = pad_packed_sequence(made, batch_first=True, total_length=steps)
        if self.end in ("last", "mean"):
            return self.classifier((last_step if self.end == "last" else mean_steps)(padded, lengths))
        return self.classifier(self.ended(padded, states[0] if isinstance(states, tuple) else states))


def random_sequence_module(
    rng: np.random.Generator, streams: bool = False
) -> tuple[nn.Module, tuple[int, int]]:
    """Return (module, (steps, features)); with `streams` a module of causal layers."""
    steps, features = int(rng.integers(4, 14)), int(rng.integers(1, 8))
    channels, length, pooled = features, steps, 1
    convs: list[nn.Module] = []
    for _ in range(int(rng.integers(0, 3))):
        width, dilation = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        out = int(rng.integers(1, 9))
        around = dilation * (width - 1)
        left = (
            around if streams or rng.random() < 0.5 else around // 2
        )  # causal, or about the same on both sides
        convs += [
            nn.ConstantPad1d((left, around - left), 0.0),
            nn.Conv1d(channels, out, width, dilation=dilation),
        ]
        convs += [[nn.ReLU()], [nn.BatchNorm1d(out), nn.ReLU()], [nn.Hardswish()]][rng.integers(3)]
        channels = out
        if length >= 4 and rng.random() < 0.5 and not streams:
            convs.append((nn.MaxPool1d, nn.AvgPool1d)[rng.integers(2)](2))
            length, pooled = length // 2, pooled * 2
    both, units = bool(rng.integers(2)) and not streams, int(rng.integers(1, 10))
    layer = (nn.GRU, nn.LSTM)[rng.integers(2)](
        channels, units, int(rng.integers(1, 6)), batch_first=bool(rng.integers(2)), bidirectional=both,
        bias=bool(rng.random() < 0.8),
    )  # fmt: skip
    end = ENDS[rng.integers(3 if streams else len(ENDS))]
    width = units * (2 if both else 1) * (length if end == "all" else 1)
    classes = int(rng.integers(2, 6))
    kind = (SequenceNetwork, PackedNetwork)[rng.integers(2)]
    return kind(nn.Sequential(*convs), layer, end, nn.Linear(width, classes), pooled), (steps, features)


class DrawnRecurrent:
    """A random network: `module`, samples `x` with `lengths` (None without), the integer `network` and int8 `images`."""

    def __init__(self, seed: int, streams: bool = False) -> None:
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            module, shape = random_sequence_module(rng, streams)
            self.module = module.eval()
            randomize(self.module, seed)
            self.x = 2 * torch.randn(12, *shape)
            self.lengths: Tensor | None = None
            if getattr(module, "uses_lengths", False):
                self.lengths = torch.from_numpy(rng.integers(1, shape[0] + 1, len(self.x)))
            network = quantize(self.module, self.x, layout="time-features", lengths=self.lengths)
        assert isinstance(network, IntegerNetwork)
        self.network = network
        self.images = rng.integers(-128, 128, (3, *shape)).astype(np.int8)
        self.steps = None if self.lengths is None else self.lengths[:3].numpy()

    @property
    def case(self) -> tuple[IntegerNetwork, np.ndarray, np.ndarray | None]:
        """The network, samples and lengths for the compiled code."""
        return self.network, self.images, self.steps
