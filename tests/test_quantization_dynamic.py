"""The schemes dynamic and both: their definition computed independently, ranges of each sample, accuracy and costs."""

import numpy as np
import pytest
import torch
from support_trials import default_candidate, tiny_data, tiny_spec
from torch import nn

from sparsemod.graph import capture, deployed
from sparsemod.pipeline.trial import evaluate
from sparsemod.quantization import quantize
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.records import TrialState


def linear(x: np.ndarray, low: np.float32, high: np.float32, layer: nn.Linear) -> np.ndarray:
    """One linear layer for one sample, by the definition, in numpy."""
    w, b = layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy()
    ws = (np.abs(w).max(1) / 127).astype(np.float32)
    wq = np.clip(np.rint(w / ws[:, None].astype(np.float64)), -127, 127).astype(np.int64)
    s = np.float32((high - low) / np.float32(255))
    s = np.float32(1) if s < np.finfo(np.float32).tiny else s
    z = np.clip(np.floor(np.float32(-128) - low / s + np.float32(0.5)), -128, 127)
    q = np.clip(np.rint(x / s) + z, -128, 127).astype(np.int64)
    sums = (wq @ (q - int(z))).astype(np.float32)
    return sums * (s * ws) + b


def test_a_linear_network_equals_its_definition() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(7, 5), nn.Linear(5, 3)
    x = torch.randn(20, 7) * torch.logspace(-2, 2, 20)[:, None]
    network = quantize(nn.Sequential(first, nn.ReLU(), second), x, "dynamic")
    assert isinstance(network, DynamicNetwork)
    wanted = []
    for sample in x.numpy():
        hidden = np.maximum(
            linear(sample, min(np.float32(0), sample.min()), max(np.float32(0), sample.max()), first), 0
        )
        wanted.append(linear(hidden, np.float32(0), hidden.max(), second))
    assert np.array_equal(network.logits(x), np.array(wanted, np.float32))


def test_a_sample_does_not_depend_on_the_others() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, 3)
    ).eval()
    x = torch.randn(9, 2, 5, 5)
    x[3] *= 100
    network = quantize(module, x, "dynamic")
    together = network.logits(x)
    assert all(np.array_equal(network.logits(x[i : i + 1])[0], together[i]) for i in range(9))


@pytest.mark.parametrize("scheme", ["dynamic", "both"])
def test_the_error_against_float_is_that_of_eight_bits(scheme: str) -> None:
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 10),
    ).eval()
    x = torch.randn(64, 1, 8, 8)
    network = quantize(module, x, scheme)
    real = module(x).detach().numpy()
    assert np.abs(network.logits(x) - real).max() < 0.05 * np.abs(real).max()
    graph = deployed(capture(module, (1, 8, 8)))
    measured = {name for name in network.ranges}  # type: ignore[attr-defined]
    kinds = {operator.name: operator.kind for operator in graph.operators}
    assert {kinds[name] for name in measured} == ({"conv"} if scheme == "both" else set())
    assert network.to_bytes() == quantize(module, x, scheme).to_bytes()


def test_both_clamps_convolutions_to_the_calibration() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2)).eval()
    x = torch.rand(16, 1, 2, 2)
    both, dynamic = quantize(module, x, "both"), quantize(module, x, "dynamic")
    far = 50 * x
    real = module(far).detach().numpy()
    assert np.abs(dynamic.logits(far) - real).max() < 0.05 * np.abs(real).max()
    assert np.abs(both.logits(far) - real).max() > 0.5 * np.abs(real).max()


def test_recurrent_layers_round_weights_and_inputs() -> None:
    torch.manual_seed(4)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.rnn(x)[0][:, -1])  # type: ignore[no-any-return]

    module, x = Last().eval(), torch.randn(32, 6, 3)
    network = quantize(module, x, "dynamic", layout="time-features")
    real = module(x).detach().numpy()
    difference = np.abs(network.logits(x) - real).max()
    assert 0 < difference < 0.05 * np.abs(real).max()


@pytest.mark.parametrize("scheme", ["dynamic", "both"])
def test_a_trial_measures_the_dynamic_network(scheme: str) -> None:
    spec = tiny_spec(
        "cnn", quantization={"scheme": scheme}, objectives=["error", "model_size", "working_memory"]
    )
    result = evaluate(spec, default_candidate(spec), epochs=1, seed=1, data=tiny_data(spec))
    assert result.state is TrialState.COMPLETED, result.failure
    assert "dynamically quantized network" in next(
        m.method for m in result.measurements if m.metric == "error"
    )
    static = tiny_spec("cnn", objectives=["error", "model_size", "working_memory"])
    other = evaluate(static, default_candidate(static), epochs=1, seed=1, data=tiny_data(static))
    assert result.value("parameters") < result.value("model_size") < other.value("model_size"), (
        "8 bytes a channel, not 9"
    )
    assert result.value("working_memory") > other.value("working_memory")
