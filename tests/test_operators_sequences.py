"""Networks on sequences: captured both ways, folded, quantized, exact in C, and exported; channels first, or time first."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support_graph import randomize
from support_programs import needs_compiler
from support_pruning import started
from support_quantization import slow_run
from torch import Tensor, nn

from sparsemod.arena import plan
from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export import export
from sparsemod.export.c import generate, host_run
from sparsemod.export.c import plan as c_plan
from sparsemod.graph import Graph, capture, deployed, run_float
from sparsemod.graph.capture import _graph, evaluating, example_for
from sparsemod.graph.macs import macs
from sparsemod.graph.signature import inputs_of
from sparsemod.graph.trace import exported, recorded
from sparsemod.layouts import LAYOUTS, default_layout, layout
from sparsemod.measure import costs
from sparsemod.measure.nodes import graph_layout
from sparsemod.pruning import planned_shrink_graph
from sparsemod.quantization import FloatNetwork, IntegerNetwork, quantize
from sparsemod.records import DataInfo
from sparsemod.targets import device


class Recognizer(nn.Module):
    """Features of each time step, then convolutions over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv, self.last = nn.Linear(6, 8), nn.Conv1d(8, 5, 3, stride=2), nn.Linear(5 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.embed(x).relu()
        return self.last(self.conv(steps.transpose(1, 2)).relu().flatten(1))


def one_dimensional(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 3, padding="same", groups=8), nn.Conv1d(8, 12, 1), nn.BatchNorm1d(12), nn.ReLU6(),
        nn.AvgPool1d(3, 2, 1), nn.Conv1d(12, 6, 3, dilation=2), nn.Flatten(), nn.LazyLinear(4),
    )  # fmt: skip


def ready(module: nn.Module, shape: tuple[int, ...], seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        module.eval()(torch.zeros(2, *shape))
    randomize(module, seed)
    return module


def same(first: Graph, second: Graph) -> bool:
    return [(o.kind, o.name, o.inputs, dict(o.attributes)) for o in first.operators] == [
        (o.kind, o.name, o.inputs, dict(o.attributes)) for o in second.operators
    ] and dict(first.shapes) == dict(second.shapes)


@needs_compiler
def test_a_one_dimensional_network_from_capture_to_c(tmp_path: Path) -> None:
    module, x = ready(one_dimensional(), (3, 50)), torch.randn(64, 3, 50)
    captured = capture(module, (3, 50))
    assert [o.kind for o in captured.operators] == [
        "conv", "batch_norm", "relu", "max_pool", "conv", "conv", "batch_norm", "relu6", "avg_pool", "conv", "flatten", "linear",
    ]  # fmt: skip
    assert captured.shapes["3"] == (8, 25) and captured.operators[3].window.kernel == (1, 2)
    graph = deployed(captured)
    assert [o.kind for o in graph.operators] == [
        "conv", "max_pool", "conv", "conv", "avg_pool", "conv", "flatten", "linear",
    ]  # fmt: skip
    assert torch.allclose(run_float(graph, x), module(x), atol=1e-4, rtol=1e-4)
    # 5 taps of 3 channels to 8 at 50 places; 3 taps depthwise and 1 x 1 at 25; 3 taps of 12 to 6 at 9
    assert macs(graph) == 5 * 3 * 8 * 50 + 3 * 8 * 25 + 8 * 12 * 25 + 3 * 12 * 6 * 9 + 54 * 4
    network = quantize(graph, x)
    assert isinstance(network, IntegerNetwork)
    given_ = network.quantize_input(x)
    assert np.array_equal(slow_run(network, given_[:2]), network.run(given_[:2]))
    assert np.array_equal(host_run(network, given_), network.run(given_))
    assert np.array_equal(host_run(network, x.numpy()), network.run(given_))
    assert plan(graph_layout(graph).problem).size == c_plan(network).size
    assert "Input: 50 x 3, channels last" in generate(network).files["network.h"]
    found = costs(graph, device("stm32f446"), nonzeros=network.layer_nonzeros())
    assert found["instructions"].value > found["macs"].value
    for name in ("c", "onnx", "tflite"):
        report = export(name, network, tmp_path / name, samples=x, labels=torch.zeros(64).long())
        assert all(v.largest_difference <= 1 for v in report.verifications), report


@needs_compiler
def test_features_of_time_steps_are_read_as_they_lie() -> None:
    module, x = ready(Recognizer(), (20, 6)), torch.randn(48, 20, 6)
    captured = capture(module, (20, 6), "time-features")
    assert captured.layouts["input"] == "time-features"
    graph = deployed(captured)
    assert [o.kind for o in graph.operators] == [
        "transpose",
        "conv",
        "transpose",
        "transpose",
        "conv",
        "flatten",
        "linear",
    ]
    assert graph.operators[1].attributes["parameter"] == "embed.weight", "pruning knows it by its name"
    assert torch.allclose(run_float(graph, x), module(x), atol=1e-5)
    # Transposes and the flatten are views: three kernels run.
    assert [node.kind for node in graph_layout(graph).nodes] == ["conv", "conv", "linear"]
    network = quantize(graph, x)
    assert network.tensors[network.input].layout == "time-features"
    given_ = network.quantize_input(x)
    assert np.array_equal(slow_run(network, given_[:2]), network.run(given_[:2]))
    assert np.array_equal(host_run(network, given_), network.run(given_))
    again = IntegerNetwork.from_bytes(network.to_bytes())
    assert again.tensors[again.input].layout == "time-features" and again.to_bytes() == network.to_bytes()
    floats = FloatNetwork(graph)
    assert np.array_equal(FloatNetwork.from_bytes(floats.to_bytes()).logits(x), floats.logits(x))


def random_sequence_network(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 5))
    shape = (channels, int(rng.integers(8, 21)))
    layers: list[nn.Module] = []
    for _ in range(int(rng.integers(1, 5))):
        out = int(rng.integers(1, 5))
        made = (
            [nn.Conv1d(channels, out, int(rng.integers(1, 4)), padding=int(rng.integers(0, 3)))],
            [nn.BatchNorm1d(channels)],
            [nn.ReLU()],
            [nn.MaxPool1d(2, 1)],
            [nn.AvgPool1d(2, 1, count_include_pad=False)],
            [nn.ConstantPad1d((1, 2), 0.0), nn.Conv1d(channels, out, 2)],
        )[rng.integers(6)]
        layers += made
        channels = getattr(made[-1], "out_channels", channels)
    heads = ([nn.Flatten()], [nn.AdaptiveAvgPool1d(1)], [nn.AdaptiveAvgPool1d(1), nn.Flatten()])
    module = nn.Sequential(*layers, *heads[rng.integers(3)])
    randomize(module.eval(), seed)
    return module, shape


@pytest.mark.parametrize("seed", range(10))
def test_both_ways_of_capturing_give_the_same_graph(seed: int) -> None:
    module, shape = random_sequence_network(seed)
    inputs, examples = inputs_of(module, shape, None), (example_for(module, shape),)
    with evaluating(module):
        fast, truth = (_graph(module, program(module, examples), inputs) for program in (recorded, exported))
    assert same(fast, truth), (fast.operators, truth.operators)
    x = torch.randn(3, *shape)
    for graph in (fast, deployed(fast)):
        torch.testing.assert_close(run_float(graph, x), module(x), atol=1e-4, rtol=1e-4)


def filters_pruned(module: nn.Module, shape: tuple[int, ...], layout: str | None = None) -> nn.Module:
    """The smaller network that filter pruning to one half leaves."""
    method = started("filters", 0.5, module, shape, layout=layout)
    method.before_epoch(1, 1)
    method.finish()
    small: nn.Module = method.transform(module, shape, layout)
    return small


@needs_compiler
def test_filters_of_one_dimensional_networks_are_pruned_away() -> None:
    module = ready(one_dimensional(), (3, 50))
    graph = planned_shrink_graph(capture(module, (3, 50)), 0.5)
    small = filters_pruned(module, (3, 50))
    assert same(graph, capture(small, (3, 50)))
    assert [layer.out_channels for layer in small.modules() if isinstance(layer, nn.Conv1d)] == [4, 4, 6, 3]
    recognizer = ready(Recognizer(), (20, 6))
    steps = planned_shrink_graph(capture(recognizer, (20, 6), "time-features"), 0.5)
    assert same(
        steps, capture(filters_pruned(recognizer, (20, 6), "time-features"), (20, 6), "time-features")
    )
    assert [steps.shapes[name] for name in ("input", "relu", "conv", "last")] == [
        (20, 6), (20, 4), (3, 9), (3,),
    ]  # fmt: skip
    network = quantize(small, torch.randn(16, 3, 50))
    given_ = network.quantize_input(torch.randn(8, 3, 50))
    assert np.array_equal(host_run(network, given_), network.run(given_))


def test_operators_that_a_layout_rules_out() -> None:
    with pytest.raises(Unsupported, match=r"'conv1d'.*time-features: transpose it to channels first"):
        capture(nn.Conv1d(20, 3, 2), (20, 6), "time-features")
    with pytest.raises(Unsupported, match=r"'linear'.*flatten it first"):
        capture(nn.Linear(6, 2), (20, 6), "channels-length")
    assert capture(nn.Linear(6, 2), (20, 6)).layout("input").name == "time-features"
    with pytest.raises(Unsupported, match=r"'mean'.*leaves one number for each sample"):
        capture(_Mean(), (20, 6))
    with pytest.raises(
        InvalidInput, match=r"shape = \(1, 2, 3, 4\): one of features \(features,\), channels-length"
    ):
        capture(nn.Flatten(), (1, 2, 3, 4))
    with pytest.raises(InvalidInput, match=r"layout = 'features': a layout of 2 axes"):
        capture(nn.Flatten(), (20, 6), "features")
    with pytest.raises(InvalidInput, match=r"layout = 'time': known: channels-height-width"):
        capture(nn.Flatten(), (20, 6), "time")


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2))


def test_layouts() -> None:
    assert [default_layout(shape) for shape in ((5,), (2, 9), (1, 2, 3))] == [
        "features", "channels-length", "channels-height-width",
    ]  # fmt: skip
    for name, found in LAYOUTS.items():
        shape = tuple(range(2, 2 + found.rank))
        assert found.sample(found.image(shape)) == shape and layout(name, shape) is found
        order = np.transpose(np.arange(np.prod(shape)).reshape(shape), found.memory).ravel()
        assert found.moves(shape) == (not np.array_equal(order, np.arange(len(order))))
    assert not LAYOUTS["channels-length"].moves((1, 9)) and not LAYOUTS["channels-length"].moves((9, 1))
    assert DataInfo(name="x", shape=(3, 9), classes=2).layout == "channels-length"
    info = DataInfo(name="x", shape=(3, 9), classes=2, layout="time-features")
    assert DataInfo.model_validate_json(info.model_dump_json()) == info and info.axes.channel == 1
    with pytest.raises(ValueError, match="a layout of 2 axes"):
        DataInfo(name="x", shape=(3, 9), classes=2, layout="features")
