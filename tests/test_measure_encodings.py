"""How sparse weights are stored: chosen by flash and instructions, for the network as a whole."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from support_export import quantized
from support_trials import default_candidate, tiny_data, tiny_spec
from torch import nn

from sparsemod.arena.memory import MEMORY
from sparsemod.emulator import Emulator, available
from sparsemod.export.c import generate
from sparsemod.export.c.arena import node
from sparsemod.export.c.encoding import encoded_layers, encodings, gaps, smallest
from sparsemod.graph import Graph, capture, deployed
from sparsemod.kinds.encodings import ENCODINGS
from sparsemod.measure.encodings import EncodedLayer, EncodingGoal, choose, code_bytes, layer_flash
from sparsemod.measure.predicted import chosen_encodings, predict
from sparsemod.measure.work import Weights, Work, layer_instructions, sparse_features, stored_forms, work_of
from sparsemod.pipeline.deployment import encoding_goal
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import evaluate
from sparsemod.quantization import IntegerNetwork
from sparsemod.spec.methods import INT8
from sparsemod.targets import operator_model

MODEL = operator_model("cortex-m4")
FLASH, SPEED = EncodingGoal(instructions=False), EncodingGoal(flash=False)


class Block(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, filters, 3, stride, 1)
        self.second = nn.Conv2d(filters, filters, 3, 1, 1)
        self.short = nn.Conv2d(channels, filters, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.short(x))


def resnet8() -> nn.Module:
    """MLPerf Tiny's image classifier."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2), *head
    ).eval()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return deployed(capture(resnet8(), (3, 32, 32)))


def left(graph: Graph, zeros: float) -> dict[str, int]:
    return {o.name: round(graph.state[o.weight].numel() * (1 - zeros)) for o in graph.operators if o.weight}


def costs(graph: Graph, zeros: float, goal: EncodingGoal) -> tuple[float, float]:
    nonzeros = left(graph, zeros)
    found = predict(graph, MODEL, 0, nonzeros, chosen_encodings(graph, nonzeros, goal))
    return found.flash, found.instructions


def test_thirty_percent_of_zeros_do_not_slow_resnet8_down(graph: Graph) -> None:
    dense = costs(graph, 0.0, EncodingGoal())
    assert costs(graph, 0.3, SPEED) == dense
    both = costs(graph, 0.3, EncodingGoal())
    assert both[0] <= dense[0] and both[1] < 1.001 * dense[1]
    small = costs(graph, 0.3, FLASH)
    assert small[0] < 0.85 * dense[0] and small[1] > 2.5 * dense[1], "what smaller flash would cost"


def test_many_zeros_are_omitted_for_every_goal(graph: Graph) -> None:
    dense = costs(graph, 0.0, EncodingGoal())
    for goal in (EncodingGoal(), SPEED, FLASH):
        flash, instructions = costs(graph, 0.95, goal)
        assert flash < 0.25 * dense[0] and instructions < 0.8 * dense[1]


def test_limits_of_flash_and_instructions_are_kept_with_as_little_loss_as_possible(graph: Graph) -> None:
    dense, small = costs(graph, 0.5, SPEED), costs(graph, 0.5, FLASH)
    limit = (dense[0] + small[0]) / 2
    flash, instructions = costs(graph, 0.5, replace(SPEED, most_flash=limit))
    assert flash <= limit and dense[1] < instructions < 0.75 * small[1]
    limit = (dense[1] + small[1]) / 2
    flash, instructions = costs(graph, 0.5, replace(FLASH, most_instructions=limit))
    assert instructions <= limit and small[0] < flash < dense[0]
    # A limit that nothing keeps: as near to it as can be.
    assert costs(graph, 0.5, replace(SPEED, most_flash=1000.0))[0] == small[0]


def total(layers: list[EncodedLayer], names: Any) -> tuple[float, float]:
    flash = instructions = 0.0
    works = []
    for layer, name in zip(layers, names, strict=True):
        stored = next(s for s in stored_forms(layer.weights) if s.name == name.replace("plain", "dense"))
        work = Work(layer.name, layer.kernel, layer.features, "dense", layer.own).on(MODEL)
        if name == "plain":
            work = Work(layer.name, layer.kernel, layer.features, "dense")
        elif name != "dense":
            work = Work(layer.name, layer.kernel, sparse_features(layer.features, stored), name)
        flash += stored.bytes + layer_flash(MODEL, work)
        instructions += layer_instructions(work.kernel, work.features, MODEL)
        works.append(work)
    return flash + code_bytes(MODEL, works), instructions


def smaller(layer: EncodedLayer) -> list[str]:
    dense, *others = stored_forms(layer.weights)
    return ["dense", "plain", *(form.name for form in others if form.bytes < dense.bytes)]


def test_a_few_zeros_change_nothing(graph: Graph) -> None:
    for goal, stored in ((EncodingGoal(), "dense"), (SPEED, "dense"), (FLASH, "plain")):
        assert set(chosen_encodings(graph, left(graph, 0.1), goal).values()) == {stored}


@pytest.mark.parametrize("seed", range(12))
def test_no_choice_is_better_for_the_goal(seed: int) -> None:
    """Compare with every combination for small networks: readers are linked once, so layers cannot choose
    independently."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 9, 1), nn.ReLU(), nn.Flatten(), nn.Linear(9 * 36, 12), nn.ReLU(), nn.Linear(12, 5)
    )  # fmt: skip
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter[torch.rand_like(parameter) < float(rng.uniform(0, 1))] = 0
    layers = encoded_layers(quantized(module, (2, 8, 8)))
    for goal in (EncodingGoal(), FLASH, SPEED):
        chosen = choose(layers, MODEL, goal)
        every = [total(layers, names) for names in product(*(smaller(layer) for layer in layers))]
        flash, instructions = total(layers, [chosen[layer.name] for layer in layers])
        if goal is SPEED:
            assert instructions <= 1.001 * min(i for _, i in every)
        elif goal is FLASH:
            assert flash <= 1.001 * min(f for f, _ in every)
        else:
            assert flash * instructions <= 1.02 * min(f * i for f, i in every)


def test_bytes_of_gaps_are_counted_with_the_zeros_that_bridge_them() -> None:
    weight = np.zeros((3, 1, 1, 700), np.int8)
    weight[0, 0, 0, [0, 300, 699]], weight[1, 0, 0, 400], weight[2, 0, 0, 255] = 1, 2, 3
    module = nn.Sequential(nn.Flatten(), nn.Linear(700, 3))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(weight.reshape(3, 700)))
    (layer,) = encoded_layers(quantized(module, (700,)))
    form = next(s for s in stored_forms(layer.weights) if s.name == "gaps")
    assert form.bytes == gaps(weight.reshape(3, 700)).bytes
    assert stored_forms(Weights(4, 8, 2, 1))[1:] == (), "layers with groups stay dense"


def sparse_network() -> IntegerNetwork:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10))
    with torch.no_grad():
        for index in (0, 3):
            module[index].weight[torch.rand_like(module[index].weight) < 0.4] = 0
    return quantized(module)


def test_the_stored_choice_is_linked() -> None:
    network = sparse_network()
    assert set(encodings(network).values()) == {"dense"}
    assert set(smallest(network).values()) == {"mask"}
    chosen = replace(network, encodings={"0": "gaps", "3": "mask"})
    assert [layer.encoding for layer in generate(chosen).layers] == ["gaps", "mask"]
    assert [layer.encoding for layer in generate(chosen, encodings={}).layers] == ["dense", "dense"]


@pytest.mark.skipif(available() is not None, reason=str(available()))
def test_the_prediction_holds_on_the_emulated_core() -> None:
    network = sparse_network()
    found = [
        Emulator().measure(replace(network, encodings=one)) for one in (smallest(network), encodings(network))
    ]
    assert found[0].instructions > 1.5 * found[1].instructions


def spec(**changes: Any) -> Any:
    return tiny_spec(
        "mlp", pruning={"method": "magnitude", "sparsity": 0.5}, quantization={"scheme": "static"}, **changes
    )


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({}, {"dense"}),
        ({"objectives": ["error", "flash"]}, {"mask"}),
        ({"objectives": ["error", "flash", "latency"]}, {"dense"}),
        ({"measure": {"device": "model", "model_size": "sparse"}}, {"mask"}),
    ],
)
def test_a_trial_stores_the_encodings_of_its_spec(
    changes: dict[str, Any], stored: set[str], tmp_path: Any
) -> None:
    made = spec(**changes)
    result = evaluate(made, default_candidate(made), epochs=1, seed=1, data=tiny_data(made), workdir=tmp_path)
    network = IntegerNetwork.load(tmp_path / "network.npz")
    assert set(network.encodings.values()) == stored
    flash = next(m.value for m in result.measurements if m.metric == "flash")
    assert generate(network).data_bytes < flash


def test_goals_come_from_objectives_and_budgets() -> None:
    def goal(**changes: Any) -> EncodingGoal:
        made = spec(**changes)
        return encoding_goal(Problem.of(made, tiny_data(made).info))

    assert (goal().flash, goal().instructions, goal().most_flash) == (False, True, 512 * 1024)
    limited = goal(objectives=["error", "flash"], budgets={"flash": "20 KB", "latency": "1 ms"})
    assert (limited.flash, limited.instructions, limited.most_flash) == (True, False, 20 * 1024)
    assert limited.most_instructions == pytest.approx(180_000 / 1.0, rel=0.5)
    neither = goal(objectives=["error", "working_memory"])
    assert neither.flash and neither.instructions
    assert goal(measure={"model_size": "sparse"}).smallest


def test_plan_and_c_code_agree_on_kernels_and_bytes() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 2, groups=2), nn.Flatten(), nn.Linear(36, 5)
    )  # fmt: skip
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter[torch.rand_like(parameter) < 0.6] = 0
    network = quantized(module, (2, 8, 8))
    planned = {layer.name: layer for layer in encoded_layers(network)}
    nodes = {layer.name: node(layer) for layer in network.weighted()}
    for encoding in ENCODINGS:
        project = generate(
            network, encodings=dict.fromkeys((layer.name for layer in network.weighted()), encoding)
        )
        for emitted, layer in zip(project.layers, network.weighted(), strict=True):
            kernel, _ = work_of(nodes[layer.name], network.named)
            assert emitted.kernels[0] == f"nn_{kernel}", layer.name
            needs = MEMORY.rule(layer.kind, layer.name)(nodes[layer.name], network.named)
            assert bool(needs.scratch) is (kernel == "conv"), layer.name
            channels = len(layer.weight)
            if layer.name in planned:
                forms = {form.name: form.bytes for form in stored_forms(planned[layer.name].weights)}
                stored = forms.get(encoding, forms["dense"])
            else:
                stored = layer.weight.size
            assert emitted.data_bytes == stored + INT8.channel_bytes * channels, (layer.name, encoding)
