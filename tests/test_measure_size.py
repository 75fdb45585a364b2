"""Sizes and multiply-adds against a network counted by hand, and planned sizes against every placement of zeros."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_graph import LeNet
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.graph import capture, deployed
from sparsemod.graph.macs import macs, operator_macs
from sparsemod.measure.size import (
    LayerSize,
    deployed_bytes,
    layer_sizes,
    parameters,
    planned_sparse_bytes,
    sparse_bytes,
)
from sparsemod.pruning.weights import graph_weights

# LeNet on 28 x 28:     weights              outputs   multiply-adds
#   conv1  5x5, pad 2       150 = 25*1*6        6        117,600 = 150 * 28*28
#   conv2  5x5            2,400 = 25*6*16      16        240,000 = 2,400 * 10*10
#   fc1                  48,000 = 400*120     120         48,000
#   fc2                  10,080 = 120*84       84         10,080
#   fc3                     840 = 84*10        10            840
WEIGHTS = {"conv1": 150, "conv2": 2_400, "fc1": 48_000, "fc2": 10_080, "fc3": 840}
OUTPUTS = {"conv1": 6, "conv2": 16, "fc1": 120, "fc2": 84, "fc3": 10}


def test_lenet_by_hand() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    layers = layer_sizes(graph)
    assert {layer.name: layer.weights for layer in layers} == WEIGHTS
    assert {layer.name: layer.channels for layer in layers} == OUTPUTS
    assert parameters(layers) == 61_470
    assert deployed_bytes(layers) == 61_470 + 236 * (4 + 4 + 1)
    # bits in whole bytes per filter: 6 x 4 + 16 x 19 + 120 x 50 + 84 x 15 + 10 x 11 bytes
    assert planned_sparse_bytes(layers, 30_735) == 7_698 + 30_735 + 236 * 9
    assert planned_sparse_bytes(layers, 0) == deployed_bytes(layers)
    assert macs(graph) == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert graph_weights(graph) == {f"{name}.weight": count for name, count in WEIGHTS.items()}


def test_sparse_is_chosen_per_layer() -> None:
    layers = (LayerSize("a", 800, 10), LayerSize("b", 80, 2))
    # a: 100 + 400 + 90 against 890; b: 10 + 75 + 18 against 98, so b stays dense
    assert sparse_bytes(layers, {"a": 400, "b": 75}) == 590 + 98
    assert sparse_bytes((LayerSize("grouped", 800, 10, groups=2),), {"grouped": 1}) == 890
    for wrong in ({"a": 1}, {"a": 1, "b": 1, "c": 1}, {"a": 801, "b": 1}, {"a": -1, "b": 1}):
        with pytest.raises(InvalidInput, match="nonzeros"):
            sparse_bytes(layers, wrong)


def test_grouped_and_depthwise_multiply_adds() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 8, 3, stride=2, groups=2), nn.Conv2d(8, 3, 1)
    )
    graph = deployed(capture(module, (4, 9, 9)))
    # depthwise 4*1*9 weights on 9*9; grouped 8*2*9 on 4*4; pointwise 3*8 on 4*4
    assert [operator_macs(graph, o) for o in graph.operators] == [36 * 81, 144 * 16, 24 * 16]


def test_batch_norm_costs_nothing_when_folded_and_a_layer_otherwise() -> None:
    folded = deployed(capture(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)), (2, 5, 5)))
    assert deployed_bytes(layer_sizes(folded)) == 54 + 3 * 9
    alone = deployed(capture(nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(2)), (2, 4, 4)))
    assert deployed_bytes(layer_sizes(alone)) == 2 + 2 * 9
    assert graph_weights(alone) == {}, "pruning sees no weight there"


def test_shared_weights_are_stored_for_each_operator_but_pruned_once() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1)
    graph = deployed(capture(nn.Sequential(conv, nn.ReLU(), conv), (2, 4, 4)))
    assert parameters(layer_sizes(graph)) == 72 and graph_weights(graph) == {"0.weight": 36}


@st.composite
def pruned(draw: st.DrawFn) -> tuple[tuple[LayerSize, ...], dict[str, int]]:
    drawn = st.tuples(st.integers(1, 40), st.integers(1, 20), st.sampled_from([1, 1, 2]))
    sizes = draw(st.lists(drawn, min_size=1, max_size=6))
    layers = tuple(
        LayerSize(str(i), taps * channels, channels, groups=groups)
        for i, (taps, channels, groups) in enumerate(sizes)
    )
    return layers, {layer.name: draw(st.integers(0, layer.weights)) for layer in layers}


@given(pruned())
def test_planned_is_never_less_than_measured(case: tuple[tuple[LayerSize, ...], dict[str, int]]) -> None:
    layers, nonzeros = case
    zeros = parameters(layers) - sum(nonzeros.values())
    planned, found = planned_sparse_bytes(layers, zeros), sparse_bytes(layers, nonzeros)
    assert found <= planned <= deployed_bytes(layers)
    # and the encoding, byte by byte: a mask of bits, the nonzero weights, nine bytes per channel
    encoded = 0
    for layer in layers:
        weight = torch.zeros(layer.weights)
        weight[: nonzeros[layer.name]] = 1
        mask = sum(1 for filter_ in weight.reshape(layer.channels, -1) for _ in range(0, len(filter_), 8))
        stored = layer.weights if layer.groups > 1 else min(layer.weights, mask + int(weight.sum()))
        encoded += stored + 9 * layer.channels
    assert encoded == found
