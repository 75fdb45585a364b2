"""The schemes dynamic and both: their definition computed independently, ranges of each sample, accuracy and costs."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from support_programs import needs
from support_trials import default_candidate, tiny_data, tiny_spec
from torch import nn

from sparsemod.delivery.deliver import Subject, deliver
from sparsemod.emulator import Emulator
from sparsemod.errors import Unsupported
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


def rows(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The gates of one part of a recurrent layer for one step of one sample, by the definition."""
    w = weight.astype(np.float64)
    ws = (np.abs(w).max(1) / 127).astype(np.float32)
    wq = np.clip(np.rint(w / ws[:, None].astype(np.float64)), -127, 127).astype(np.int64)
    low, high = min(np.float32(0), x.min()), max(np.float32(0), x.max())
    s = np.float32((high - low) / np.float32(255))
    s = np.float32(1) if s < np.finfo(np.float32).tiny else s
    z = np.clip(np.floor(np.float32(-128) - low / s + np.float32(0.5)), -128, 127)
    q = np.clip(np.rint(x / s) + z, -128, 127).astype(np.int64)
    return (wq @ (q - int(z))).astype(np.float32) * (s * ws) + bias


def table(x: np.ndarray) -> np.ndarray:
    """The sigmoid of the integer gates: linear between entries 1/8 apart, in whole 2^-15ths."""
    known = np.minimum(np.rint(32768 / (1 + np.exp(-np.arange(129) / 8))), 32767).astype(np.int64)
    a = np.clip(x, -32767, 32767).astype(np.int64)
    k, part = np.abs(a) >> 8, np.abs(a) & 255
    made = known[k] + (((known[k + 1] - known[k]) * part + 128) >> 8)
    return np.where(a >= 0, made, 32768 - made)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return table(np.rint(x * np.float32(2048))).astype(np.float32) / np.float32(32768)


def tanh(x: np.ndarray) -> np.ndarray:
    steps = np.clip(np.rint(x * np.float32(2048)), -32767, 32767)
    return (2 * table(2 * steps) - 32768).astype(np.float32) / np.float32(32768)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_recurrent_layer_equals_its_definition(kind: str) -> None:
    torch.manual_seed(7)
    layer = (nn.GRU if kind == "gru" else nn.LSTM)(3, 5, batch_first=True)

    class All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[0]  # type: ignore[no-any-return]

    x = 3 * torch.randn(4, 6, 3)
    network = quantize(All().eval(), x, "dynamic", layout="time-features")
    wi, wh, bi, bh = (parameter.detach().numpy() for parameter in layer.parameters())
    wanted = np.zeros((4, 6, 5), np.float32)
    for number, sample in enumerate(x.numpy()):
        h = c = np.zeros(5, np.float32)
        for step, values in enumerate(sample):
            gates, states = rows(values, wi, bi), rows(h, wh, bh)
            if kind == "gru":
                (xr, xz, xn), (hr, hz, hn) = np.split(gates, 3), np.split(states, 3)
                r, z = sigmoid(xr + hr), sigmoid(xz + hz)
                n = tanh(xn + r * hn)
                h = n + z * (h - n)
            else:
                i, f, g, o = np.split(gates + states, 4)
                c = sigmoid(f) * c + sigmoid(i) * tanh(g)
                h = sigmoid(o) * tanh(c)
            wanted[number, step] = h
    assert np.array_equal(network.logits(x), wanted)


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


def test_a_float_network_is_not_exported() -> None:
    spec = tiny_spec(quantization={"scheme": "none"}, objectives=["error", "model_size"])
    with pytest.raises(Unsupported, match="the export does not support operator 'quantization scheme none'"):
        Subject.of(spec, b"", "a network")


@pytest.mark.parametrize("scheme", ["dynamic", "both"])
def test_the_planned_arena_is_that_of_the_c_code(scheme: str) -> None:
    spec = tiny_spec(
        "cnn", quantization={"scheme": scheme}, objectives=["error", "model_size", "working_memory"],
        measure={"device": "model", "working_memory": "arena"},
    )  # fmt: skip
    data = tiny_data(spec)
    result = evaluate(spec, default_candidate(spec), epochs=1, seed=1, data=data)
    assert result.state is TrialState.COMPLETED, result.failure
    assert not [note for note in result.notes if "planned" in note]
    size = next(m for m in result.measurements if m.metric == "model_size")
    assert size.detail["sparse"] == size.detail["deployed"]  # the C code stores every weight


@needs_emulator
@needs("cc", package="gcc")
@pytest.mark.parametrize("scheme", ["dynamic", "both"])
def test_a_trial_is_measured_and_delivered_as_it_is_deployed(scheme: str, tmp_path: Path) -> None:
    spec = tiny_spec(
        "cnn", quantization={"scheme": scheme}, objectives=["error", "working_memory", "latency"],
        measure={"device": "emulated", "working_memory": "arena"},
    )  # fmt: skip
    (tmp_path / "trial").mkdir()
    result = evaluate(
        spec, default_candidate(spec), epochs=1, seed=1, data=tiny_data(spec), workdir=tmp_path / "trial"
    )
    assert result.state is TrialState.COMPLETED, result.failure
    content = (tmp_path / "trial" / "network.npz").read_bytes()
    network = DynamicNetwork.from_bytes(content)
    emulation = Emulator("cortex-m4").measure_dynamic(network)
    for metric, value in (
        ("flash", emulation.flash), ("ram", emulation.ram), ("instructions", emulation.instructions),
        ("working_memory", emulation.arena),
    ):  # fmt: skip
        assert result.value(metric) == value, metric
    assert network.normalization is not None and network.classes
    subject = Subject.of(spec, content, "t", measurements=result.measurements)
    done = deliver(subject, tmp_path / "files", ["c", "onnx"], target="stm32f446", name="digits")
    c, onnx = done.reports
    assert c.verifications[0].exact and c.verifications[0].agreement == 1.0
    assert "from raw samples" in c.verifications[0].runtime
    assert onnx.failure is not None and "supported by: c" in onnx.failure
    card = (tmp_path / "files" / "card.md").read_text()
    assert "dynamically quantized network" in card and "float32 biases" in card and "digits_normalize" in card
    folder = tmp_path / "files" / "c"
    units = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.c"))
    flags = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-I.")
    subprocess.run(["cc", *flags, "-o", "example", *units], cwd=folder, check=True)
    split = tiny_data(spec).validation
    raw = network.normalization.undo(split.x[:20])
    given = np.ascontiguousarray(raw.transpose(0, 2, 3, 1)).tobytes()
    printed = subprocess.run([folder / "example"], input=given, capture_output=True, check=True).stdout
    lines = [line.split() for line in printed.decode().splitlines()]
    wanted = network.logits(network.normalization.apply(raw))
    assert np.array_equal(np.array([line[2:] for line in lines], np.float32), wanted)
    assert [int(line[0]) for line in lines] == wanted.argmax(1).tolist()
