"""The streaming form of networks on features of signals: hop by hop, the bytes of the window form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support_programs import needs_compiler
from test_recurrent_streaming import stepped
from torch import Tensor, nn

from sparsemod.export.c import generate
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.sequences import mean_steps
from sparsemod.signals.modules import BandEnergies, WindowStatistics

pytestmark = needs_compiler


class Steps(nn.Module):
    """Features of frames, a recurrent layer on them, and its last step or the mean over valid frames."""

    def __init__(self, parts: list[nn.Module], channels: int, hop: int, lengths: bool) -> None:
        super().__init__()
        self.parts, self.hop, self.uses_lengths = nn.ModuleList(parts), hop, lengths
        width = channels * sum(int(part.features) for part in parts)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels * int(part.features)) for part in parts)
        self.layer, self.last = nn.GRU(width, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        features = torch.cat([norm(part(x)) for part, norm in zip(self.parts, self.norms, strict=True)], 1)
        steps = self.layer(features.transpose(1, 2))[0]
        if lengths is not None:
            return self.last(mean_steps(steps, (lengths // self.hop).clamp(min=1)))
        return self.last(steps[:, -1])


CASES = {
    "overlapping frames": lambda: (Steps([BandEnergies(48, 20, 8000, 8, coefficients=5)], 1, 20, False), (1, 170)),
    "frames apart": lambda: (Steps([BandEnergies(32, 40, 8000, 8)], 2, 40, False), (2, 200)),
    "two kinds of one window": lambda: (
        Steps([WindowStatistics(30, 20), BandEnergies(30, 20, 100, 3, low=1, mel=False)], 3, 20, True), (3, 120),
    ),
    "two windows": lambda: (
        Steps([WindowStatistics(16, 16), BandEnergies(32, 16, 100, 3, low=1, mel=False)], 1, 16, True), (1, 96),
    ),
}  # fmt: skip


def built(name: str) -> IntegerNetwork:
    torch.manual_seed(0)
    module, shape = CASES[name]()
    module.train()(torch.randn(8, *shape))
    lengths = torch.full((16,), shape[1]) if module.uses_lengths else None
    network = quantize(module.eval(), 0.2 * torch.randn(16, *shape), lengths=lengths)
    assert isinstance(network, IntegerNetwork)
    return network


def hop_of(network: IntegerNetwork) -> int:
    return next(layer.hop for layer in network.layers if layer.traits.reads_wide)


@pytest.mark.parametrize("name", CASES)
def test_every_hop_gives_the_window_of_the_samples_so_far(name: str, tmp_path: Path) -> None:
    network = built(name)
    hop = hop_of(network)
    rng = np.random.default_rng(1)
    whole = rng.integers(-30000, 30000, (3, *network.input_shape)).astype(np.int16)
    used = network.steps // hop * hop
    found = stepped(network, whole[..., :used], tmp_path, hop)
    expected = network.run(whole)
    assert np.array_equal(found[:, -1], expected.reshape(len(whole), -1))
    if network.uses_lengths:
        for frame in range(network.steps // hop):
            lengths = np.full(len(whole), (frame + 1) * hop)
            assert np.array_equal(found[:, frame], network.run(whole, lengths)), frame
    if name == "frames apart":  # from floats
        raw = whole[..., :used] * np.float32(network.tensors[network.input].scale)
        assert np.array_equal(
            stepped(network, raw, tmp_path / "raw", hop)[:, -1], expected.reshape(len(whole), -1)
        )


def test_frames_of_two_hops_have_no_streaming_form() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = WindowStatistics(16, 16), WindowStatistics(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.first(x).mean(2), self.second(x).mean(2)], 1)

    network = quantize(Two().eval(), torch.randn(8, 1, 64))
    assert isinstance(network, IntegerNetwork)
    project = generate(network)
    assert project.parts.streaming is None
    assert "its frames are not those of the layer before it" in project.parts.no_streaming
