"""Folding and fusing: the same outputs, and the structure that costs and integer networks rely on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_graph import Residual, networks, randomize
from torch import nn

from sparsemod.graph import Graph, capture, deployed, run_float

# torch warns once per process that even kernels cost a copy.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

COUNTED = ("kernel", "stride", "padding", "groups", "activation")


def same_outputs(graph: Graph, changed: Graph, seed: int = 0) -> None:
    x = torch.randn(4, *graph.shapes[graph.input], generator=torch.Generator().manual_seed(seed))
    expected = run_float(graph, x)
    largest = max(1.0, float(expected.abs().max()))
    assert float((run_float(changed, x) - expected).abs().max()) <= 1e-5 * largest


def structure(graph: Graph) -> list[object]:
    return [(o.name, o.kind, o.inputs, {k: o.attributes.get(k) for k in COUNTED}) for o in graph.operators]


@given(networks(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_outputs_are_kept(network: tuple[nn.Module, tuple[int, int, int]], seed: int) -> None:
    module, shape = network
    graph = capture(module, shape)
    result = deployed(graph)
    same_outputs(graph, result, seed)
    assert all(o.kind != "batch_norm" for o in result.operators)
    assert all("activation" in o.attributes for o in result.operators if o.kind in ("conv", "linear", "add"))
    users = result.users()
    for operator in result.operators:
        if operator.kind in ("relu", "relu6"):
            before = result.producers().get(operator.inputs[0])
            fusible = before is not None and before.kind in ("conv", "linear", "add")
            assert not fusible or len(users[operator.inputs[0]]) > 1
    assert set(result.shapes) == {result.input, *(o.output for o in result.operators)}
    assert set(result.state) == {key for o in result.operators for key in o.keys}
    again = deployed(result)
    assert structure(again) == structure(result)


@given(networks())
@settings(max_examples=10, deadline=None)
def test_structure_does_not_depend_on_weights(network: tuple[nn.Module, tuple[int, int, int]]) -> None:
    module, shape = network
    before = structure(deployed(capture(module, shape)))
    randomize(module, 99)
    assert structure(deployed(capture(module, shape))) == before


def build(*layers: nn.Module, shape: tuple[int, ...] = (2, 6, 6)) -> tuple[Graph, Graph]:
    module = nn.Sequential(*layers)
    randomize(module, 1)
    graph = capture(module, shape)
    result = deployed(graph)
    same_outputs(graph, result)
    return graph, result


def test_batch_norm_behind_a_convolution_is_folded_exactly() -> None:
    graph, result = build(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU())
    (conv,) = result.operators
    assert (conv.name, conv.attributes["activation"]) == ("0", "relu")
    state = graph.state
    scale = state["1.weight"] / torch.sqrt(state["1.running_var"] + 1e-5)
    torch.testing.assert_close(result.state[str(conv.weight)], state["0.weight"] * scale.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(
        result.state[str(conv.bias)], state["1.bias"] - state["1.running_mean"] * scale
    )


def test_batch_norm_in_front_is_folded_where_padding_allows() -> None:
    _, result = build(nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, groups=2))
    assert [o.kind for o in result.operators] == ["relu", "conv"]
    _, result = build(nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1))
    assert [(o.kind, o.attributes.get("groups")) for o in result.operators] == [
        ("relu", None),
        ("conv", 2),
        ("conv", 1),
    ]
    _, result = build(nn.Linear(5, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2), shape=(5,))
    assert [(o.kind, o.attributes["activation"]) for o in result.operators] == [
        ("linear", "relu"),
        ("linear", None),
    ]


def test_batch_norm_alone_becomes_a_layer() -> None:
    _, result = build(nn.MaxPool2d(2), nn.BatchNorm2d(2), nn.ReLU6())
    _, conv = result.operators
    assert (
        conv.attributes["groups"] == 2
        and conv.attributes["kernel"] == (1, 1)
        and conv.attributes["activation"] == "relu6"
    )
    assert conv.attributes["parameter"] is None
    _, result = build(nn.BatchNorm1d(5), shape=(5,))
    assert [o.kind for o in result.operators] == ["linear"]


def test_shared_convolution_keeps_its_own_weights() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1)
    _, result = build(conv, nn.BatchNorm2d(2), conv)
    first, second = result.operators
    assert second.weight == "0.weight" and first.weight not in (None, second.weight)


def test_activations_move_in_front_of_max_pools() -> None:
    _, result = build(
        nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Flatten(), nn.ReLU(), nn.ReLU6(), nn.Linear(12, 2)
    )
    assert [(o.kind, o.attributes.get("activation")) for o in result.operators] == [
        ("conv", "relu6"), ("max_pool", None), ("flatten", None), ("linear", None),
    ]  # fmt: skip
    _, result = build(nn.Conv2d(2, 3, 3), nn.AvgPool2d(2), nn.ReLU())
    assert [o.kind for o in result.operators] == ["conv", "avg_pool", "relu"]


def test_activation_with_another_reader_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return torch.relu(y) + y

    _, result = build(Net())
    assert [(o.kind, o.attributes.get("activation")) for o in result.operators] == [
        ("conv", None),
        ("relu", None),
        ("add", None),
    ]
    _, result = build(Residual(nn.Conv2d(2, 2, 3, padding=1), inplace=True))
    assert [(o.kind, o.attributes["activation"]) for o in result.operators] == [
        ("conv", None),
        ("add", "relu"),
    ]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6()])
def test_activation_that_is_the_output(activation: nn.Module) -> None:
    graph, result = build(nn.Conv2d(2, 2, 1), activation)
    assert graph.output == "1" and result.output == "0"
