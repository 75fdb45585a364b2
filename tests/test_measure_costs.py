"""Latency by hand, and `costs`: every definition, unit, method and target; planned against measured on networks really pruned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_graph import LeNet, networks
from support_pruning import started
from torch import nn

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.measure.latency import by_macs
from sparsemod.measure.predicted import constants, predict
from sparsemod.measure.work import works
from sparsemod.quantization import quantize
from sparsemod.spec.methods import FLOAT32
from sparsemod.targets import OperatorModel, device, operator_model

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

STM = device("stm32f446")


MODEL = OperatorModel(
    core="cortex-m4",
    instructions={
        "conv": {"quad_words": 10, "quad_tails": 5, "quads": 100, "singles": 30, "single_words": 4, "filled": 2, "call": 7},
        "max_pool": {"quad_taps": 8, "single_taps": 3},
        "linear": {"quad_words": 10, "quads": 100, "singles": 30, "single_words": 4},
    },
    code={"base": 100, "conv": 50, "linear": 40},
    layer_code={"conv": 10, "dense": 1},
    stack={"base": 8, "conv": 200, "linear": 100},
)  # fmt: skip


def test_lenet_by_hand() -> None:
    predicted = predict(deployed(capture(LeNet(), (1, 28, 28))), MODEL)
    # 5 x 5 taps: six words and one tap; six filters: one block of four and two; padding 2 on 28 x 28
    padding = 784 * 25 - (5 * 24 + 2 * (3 + 4)) ** 2
    assert dict(predicted.per_layer) == {
        "conv1": 784 * (10 * 6 + 5 * 1 + 100 + 2 * (30 + 4 * 6)) + 2 * padding + 7,
        "max_pool": 8 * 4 * 196 + 3 * 2 * 4 * 196,
        "conv2": 100 * 4 * (10 * 37 + 5 * 2 + 100) + 7,
        "max_pool_2": 8 * 4 * 4 * 25,
        "fc1": 30 * (10 * 100 + 100),
        "fc2": 21 * (10 * 30 + 100),
        "fc3": 2 * (10 * 21 + 100) + 2 * (30 + 4 * 21),
    }
    assert predicted.flash == 61_470 + 9 * 236 + 100 + 50 + 40 + 2 * 10 + 5 * 1
    assert (
        predicted.stack == 208 and predicted.static_ram == 784 + 3973 + 123
    )  # conv1's result begins 783 * 6 - (783 - 58) bytes before its input; two columns of 5 x 3 words, and their alignment


def test_the_method_describes_the_measurement() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    latency = costs(graph, STM)["latency"]
    assert "estimate" in latency.method and "cortex-m4" in latency.method and "1.25 cycles" in latency.method
    other = costs(graph, device("stm32h743"))["latency"]
    assert "model of cortex-m7" in other.method and other.value < latency.value
    borrowed = STM.model_copy(update={"core": "cortex-m85", "operator_model": "cortex-m7"})
    assert "not for cortex-m85" in costs(graph, borrowed)["latency"].method
    alone = STM.model_copy(update={"core": "cortex-m85"})
    assert "instructions" not in costs(graph, alone, latency="macs", operations_per_second=1e6)
    with pytest.raises(UnknownName, match="cortex-m4"):
        costs(graph, alone)


def test_zeros_change_how_weights_are_stored_and_read() -> None:
    graph = deployed(capture(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), (1, 8, 8)))
    (layer,) = [o.name for o in graph.operators if o.kind == "linear"]
    kinds = {n: works(graph, {layer: n})[0] for n in (512, 200, 20)}
    assert {n: work.encoding for n, work in kinds.items()} == {512: "dense", 200: "mask", 20: "gaps"}
    assert kinds[200].features["mask_bytes"] == 64 and kinds[20].features["gaps_weights"] == 20
    assert [constants(graph, {layer: n}) for n in (512, 200, 20)] == [512 + 72, 200 + 64 + 72, 40 + 8 + 72]


def test_by_macs() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    assert by_macs(graph, 1e8).milliseconds == pytest.approx(416_520 / 1e8 * 1e3)
    for rate in (None, 0.0, -1.0, float("inf")):
        with pytest.raises(InvalidInput, match="operations_per_second"):
            by_macs(graph, rate)


def test_everything_is_measured_with_its_provenance() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    found = costs(graph, STM, zeros=30_735)
    predicted = ("latency", "instructions", "flash", "ram")
    assert all(found[name].value > 0 for name in predicted)
    assert {name: (m.value, m.unit) for name, m in found.items() if name not in predicted} == {
        "model_size": (63_594, "B"),
        "working_memory": (5_880, "B"),
        "macs": (416_520, "MACs"),
        "parameters": (61_470, "weights"),
        "nonzeros": (30_735, "weights"),
    }
    assert all(m.metric == name and m.method and m.target == "stm32f446" for name, m in found.items())
    assert (
        "planned for 30735 zeros" in found["nonzeros"].method and "planned" not in found["model_size"].method
    )
    assert found["model_size"].detail["sparse"] == 40_557
    assert found["working_memory"].detail["timeline"][0] == {
        "operator": "conv1",
        "bytes": 5_488,
        "without_input": 4_704,
    }
    assert found == {name: type(m).model_validate_json(m.model_dump_json()) for name, m in found.items()}


@pytest.mark.parametrize(
    ("definition", "metric", "value", "unit"),
    [
        ({"model_size": "sparse"}, "model_size", 40_557, "B"),
        ({"model_size": "nonzeros"}, "model_size", 30_735, "weights"),
        ({"working_memory": "arena"}, "working_memory", 4_880, "B"),
        ({"working_memory": "peak_without_input"}, "working_memory", 5_880, "B"),
        ({"working_memory": "sparse_model_1"}, "working_memory", 48_400, "B"),
        ({"working_memory": "sparse_model_2"}, "working_memory", 5_880, "B"),
        ({"latency": "macs", "operations_per_second": 1e6}, "latency", 416.52, "ms"),
        ({"storage": FLOAT32, "integer": False}, "model_size", 4 * 61_470 + 4 * 236, "B"),
        ({"storage": FLOAT32, "integer": False}, "working_memory", 4 * 5_880, "B"),
    ],
)
def test_definitions(definition: dict[str, object], metric: str, value: float, unit: str) -> None:
    found = costs(deployed(capture(LeNet(), (1, 28, 28))), STM, zeros=30_735, **definition)[metric]
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
    pruner = started("magnitude", sparsity, module, shape)
    plan = pruner.plan(capture(module, shape), sparsity)
    planned = costs(deployed(plan.graph), STM, zeros=plan.zeros)
    pruner.before_epoch(1, 1)
    pruner.finish()
    graph = deployed(capture(module, shape))
    network = quantize(graph, torch.randn(8, *shape, generator=torch.Generator().manual_seed(0)))
    assert sum(network.layer_nonzeros().values()) <= int(planned["nonzeros"].value)
    measured = costs(graph, STM, nonzeros=network.layer_nonzeros())
    for definition in ("deployed", "sparse", "nonzeros"):
        assert measured["model_size"].detail[definition] <= planned["model_size"].detail[definition]
    for metric in ("working_memory", "macs", "parameters"):
        assert measured[metric].value == planned[metric].value
