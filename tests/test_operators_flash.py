"""Predicted bytes of constants: those that the C export emits for every kind of operator, and those that the linker places."""

from collections.abc import Callable

import pytest
import torch
from support_emulator import needs_emulator
from support_operators import EXAMPLES, Applied
from torch import nn

from sparsemod.emulator import Emulator
from sparsemod.export.c import generate, sources
from sparsemod.graph import Graph, capture, deployed
from sparsemod.measure.predicted import constants, predict
from sparsemod.measure.work import CONSTANTS
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.signals.modules import BandEnergies, WindowStatistics
from sparsemod.targets import operator_model


def _quantized(
    module: nn.Module, shape: tuple[int, ...], layout: str | None = None
) -> tuple[Graph, IntegerNetwork]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        graph, x = deployed(capture(module.eval(), shape, layout)), torch.randn(12, *shape)
    network = quantize(graph, x)
    assert isinstance(network, IntegerNetwork)
    return graph, network


@pytest.mark.parametrize("index", range(len(EXAMPLES)), ids=lambda i: f"{EXAMPLES[i].kind}-{i}")
def test_predicted_constants_are_the_emitted_ones(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind whose emitter has arrays needs a rule for their size; equal arrays of layers are stored once, so the prediction is a bound."""
    graph, network = _quantized(EXAMPLES[index].module(), EXAMPLES[index].shape, EXAMPLES[index].layout)
    dense = dict.fromkeys((o.name for o in graph.operators if o.traits.weighted), "dense")
    predicted = constants(graph, encodings=dense)
    assert generate(network, encodings=dense).data_bytes <= predicted
    monkeypatch.setattr(sources, "unshared", lambda layers: layers)
    assert generate(network, encodings=dense).data_bytes == predicted


def _flipped(*layers: nn.Module) -> nn.Module:
    """Return the layers with a copy between them, which keeps them apart; the copy is there without layers as well."""
    first, *rest = layers
    return nn.Sequential(first, *(part for layer in rest for part in (Applied(lambda x: x.flip(2)), layer)))


class Constant(nn.Module):
    """A sum with a constant for each element."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.values


# kind -> two networks and their inputs; the second network has more constants of the kind, and the same kernels
GROWN: dict[str, tuple[tuple[Callable[[], nn.Module], tuple[int, ...]], ...]] = {
    "table": (
        (lambda: _flipped(nn.Hardswish(), nn.Tanh()), (3, 4, 5)),
        (lambda: _flipped(nn.Hardswish(), nn.Tanh(), nn.GELU()), (3, 4, 5)),
    ),
    "softmax": (
        (lambda: _flipped(nn.Softmax(1), nn.MaxPool2d(1)), (3, 4, 5)),
        (lambda: _flipped(nn.Softmax(1), nn.MaxPool2d(1), nn.Softmax(1)), (3, 4, 5)),
    ),
    "prelu": ((lambda: nn.PReLU(3), (3, 4, 5)), (lambda: nn.PReLU(90), (90, 4, 5))),
    "log_softmax": (
        (lambda: _flipped(nn.LogSoftmax(1), nn.MaxPool2d(1)), (3, 4, 5)),
        (lambda: _flipped(nn.LogSoftmax(1), nn.MaxPool2d(1), nn.LogSoftmax(1)), (3, 4, 5)),
    ),
    "group_norm": ((lambda: nn.GroupNorm(3, 3), (3, 4, 5)), (lambda: nn.GroupNorm(3, 90), (90, 4, 5))),
    "offset": ((lambda: Constant(3, 4, 5), (3, 4, 5)), (lambda: Constant(3, 10, 20), (3, 10, 20))),
    "take": (
        (lambda: nn.ReflectionPad2d(1), (3, 4, 5)),
        (lambda: nn.ReflectionPad2d(1), (3, 40, 50)),
    ),
    "interpolate": (
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (3, 4, 5)),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (3, 14, 25)),
    ),
    "band_energies": (
        (lambda: BandEnergies(32, 16, 8000, 8), (1, 640)),
        (lambda: BandEnergies(256, 16, 8000, 20), (1, 640)),
    ),
    "window_statistics": (
        (lambda: WindowStatistics(32, 16), (1, 64)),
        (lambda: WindowStatistics(32, 16), (6, 64)),
    ),
}


SHARED = {"log_softmax": 1024}
"""Bytes of a table that all layers of a kind share: of logarithms."""


def test_every_kind_with_constants_is_linked() -> None:
    assert set(GROWN) == set(CONSTANTS.names())


@needs_emulator
@pytest.mark.parametrize("kind", GROWN)
def test_more_constants_take_the_predicted_flash(kind: str) -> None:
    model, linked, predicted, emitted = operator_model("cortex-m4"), [], [], []
    for make, shape in GROWN[kind]:
        graph, network = _quantized(make(), shape)
        assert kind in [layer.kind for layer in network.layers]
        linked.append(Emulator("cortex-m4").measure(network).flash)
        predicted.append(predict(graph, model).flash)
        emitted.append(constants(graph))
    grown = emitted[1] - emitted[0]
    assert grown > 120
    # The structs and calls of further layers are predicted as their mean over networks. The prediction is a bound: it
    # counts a table that layers share for each of them.
    assert abs((predicted[1] - predicted[0]) - (linked[1] - linked[0]) - SHARED.get(kind, 0)) <= 120 < grown
