"""Latency by hand, and `costs`: every definition, unit, method and target; planned against measured on networks really pruned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_graph import LeNet, networks
from torch import nn

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.measure.latency import by_macs, by_operators, operator_instructions
from sparsemod.measure.size import count_nonzeros
from sparsemod.pruning.magnitude import Magnitude
from sparsemod.pruning.schedules import OneShot
from sparsemod.quantization import quantize
from sparsemod.targets import device, operator_model

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

STM = device("stm32f446")


def test_lenet_instructions_by_hand() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    latency = by_operators(graph, STM)
    assert latency.instructions == pytest.approx({
        "conv1": 2.04 * 117_600 + 67 * 4_704 + 5.7 * 25 * 784,
        "max_pool": 20 * 4 * 1_176,
        "conv2": 2.04 * 240_000 + 67 * 1_600 + 5.7 * 150 * 100,
        "max_pool_2": 20 * 4 * 400,
        "flatten": 0,
        "fc1": 2.04 * 48_000 + 67 * 120,
        "fc2": 2.04 * 10_080 + 67 * 84,
        "fc3": 2.04 * 840 + 67 * 10,
    })  # fmt: skip
    assert latency.milliseconds == pytest.approx(1_609_706.8 * 1.25 / 180e6 * 1e3)
    assert "estimate" in latency.method and "cortex-m4" in latency.method and "1.25 cycles" in latency.method
    other = by_operators(graph, device("stm32h743"))
    assert "not for cortex-m7" in other.method and other.milliseconds < latency.milliseconds


def test_each_kind_of_operator() -> None:
    model = operator_model("cortex-m4")
    module = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 8, 1),
        nn.AvgPool2d(2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
    )
    graph = deployed(capture(module, (4, 6, 6)))
    assert [operator_instructions(graph, o, model) for o in graph.operators] == pytest.approx([
        9.2 * 36 * 36 + 67 * 144,
        2.04 * 32 * 36 + 67 * 288,  # 1 x 1: nothing is copied
        20 * 4 * 72,
        67 * 72,
        20 * 72,
    ])  # fmt: skip


def test_by_macs() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    assert by_macs(graph, 1e8).milliseconds == pytest.approx(416_520 / 1e8 * 1e3)
    for rate in (None, 0.0, -1.0, float("inf")):
        with pytest.raises(InvalidInput, match="operations_per_second"):
            by_macs(graph, rate)


def test_everything_is_measured_with_its_provenance() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    found = costs(graph, STM, sparsity=0.5)
    assert {name: (m.value, m.unit) for name, m in found.items() if name != "latency"} == {
        "model_size": (63_594, "B"),
        "working_memory": (5_880, "B"),
        "macs": (416_520, "MACs"),
        "parameters": (61_470, "weights"),
        "nonzeros": (30_735, "weights"),
    }
    assert all(m.metric == name and m.method and m.target == "stm32f446" for name, m in found.items())
    assert (
        "planned for sparsity 0.5" in found["nonzeros"].method and "planned" not in found["model_size"].method
    )
    assert found["model_size"].detail["sparse"] == 40_543
    assert found["working_memory"].detail["timeline"][0] == {
        "operator": "conv1",
        "bytes": 5_488,
        "without_input": 4_704,
    }
    assert found == {name: type(m).model_validate_json(m.model_dump_json()) for name, m in found.items()}


@pytest.mark.parametrize(
    ("definition", "metric", "value", "unit"),
    [
        ({"model_size": "sparse"}, "model_size", 40_543, "B"),
        ({"model_size": "nonzeros"}, "model_size", 30_735, "weights"),
        ({"working_memory": "peak_without_input"}, "working_memory", 5_880, "B"),
        ({"working_memory": "sparse_model_1"}, "working_memory", 48_400, "B"),
        ({"working_memory": "sparse_model_2"}, "working_memory", 5_880, "B"),
        ({"latency": "macs", "operations_per_second": 1e6}, "latency", 416.52, "ms"),
        ({"scheme": "none"}, "model_size", 4 * 61_470 + 4 * 236, "B"),
        ({"scheme": "none"}, "working_memory", 4 * 5_880, "B"),
    ],
)
def test_definitions(definition: dict[str, object], metric: str, value: float, unit: str) -> None:
    found = costs(deployed(capture(LeNet(), (1, 28, 28))), STM, sparsity=0.5, **definition)[metric]
    assert (found.value, found.unit) == (pytest.approx(value), unit)


@pytest.mark.parametrize("field", ["model_size", "working_memory", "latency"])
def test_unknown_definitions(field: str) -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    with pytest.raises(InvalidInput, match=f"measure.{field}"):
        costs(graph, STM, **{field: "guess"})
    with pytest.raises(InvalidInput, match="nonzeros"):
        costs(graph, STM, nonzeros={"conv1": 3})
    with pytest.raises(UnknownName, match="cortex-m4"):
        operator_model("cortex-m99")


@given(networks(), st.floats(0, 0.95))
@settings(max_examples=20)
def test_planned_costs_bound_the_measured_ones(
    network: tuple[nn.Module, tuple[int, int, int]], sparsity: float
) -> None:
    module, shape = network
    planned = costs(deployed(capture(module, shape)), STM, sparsity=sparsity)
    pruner = Magnitude(sparsity, OneShot())
    pruner.start(module)
    pruner.before_epoch(1, 1)
    pruner.finish()
    graph = deployed(capture(module, shape))
    network = quantize(graph, torch.randn(8, *shape, generator=torch.Generator().manual_seed(0)))
    assert all(count <= count_nonzeros(graph)[name] for name, count in network.layer_nonzeros().items())
    measured = costs(graph, STM, nonzeros=network.layer_nonzeros())
    for definition in ("deployed", "sparse", "nonzeros"):
        assert measured["model_size"].detail[definition] <= planned["model_size"].detail[definition]
    for metric in ("working_memory", "latency", "macs", "parameters"):
        assert measured[metric].value == planned[metric].value
