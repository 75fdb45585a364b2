"""Layers that run together, some rows at a time: their memory against a simulation, their results against the interpreter."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from torch import nn

from sparsemod.arena import Fused, plan
from sparsemod.arena.chains import Chain, chain
from sparsemod.arena.fusing import Fusions
from sparsemod.calibration.rows import fused_networks, random_chains
from sparsemod.emulator import Emulator
from sparsemod.errors import InvalidInput
from sparsemod.export.c import generate
from sparsemod.export.c.arena import plan as c_plan
from sparsemod.export.c.host import host_run_all
from sparsemod.export.c.networks import kernel_choices
from sparsemod.graph import Graph, capture, deployed
from sparsemod.layouts import Tensors
from sparsemod.measure.fusing import FusionGoal, chosen_fusions
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.predicted import predict
from sparsemod.networks.zoo.mobilenet import mobilenet_v2
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.static import quantize_static
from sparsemod.targets import operator_model

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class Bottleneck(nn.Module):
    """1 x 1, depthwise 3 x 3, 1 x 1, and an addition."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1, groups=wide), nn.ReLU(),
            nn.Conv2d(wide, channels, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return x + self.body(x)


def bottlenecks() -> tuple[Graph, IntegerNetwork]:
    """A network whose largest map lies between a 1 x 1 and a depthwise convolution."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), Bottleneck(8, 40), nn.MaxPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    graph = deployed(capture(module.eval(), (3, 24, 20)))
    return graph, quantize_static(graph, torch.randn(8, 3, 24, 20))


BODY = ("2.body.0", "2.body.2", "2.body.4", "2.add")


def rows_read(part_rows: tuple[int, int], node_window: tuple[int, int, int], height: int) -> set[int]:
    """The rows inside of an input of `height` rows that the output rows from `part_rows` on depend on, by the definition of a window
    (kernel, stride, padding above)."""
    kernel, stride, above = node_window
    wanted = {row * stride - above + tap for row in range(*part_rows) for tap in range(kernel)}
    return {row for row in wanted if 0 <= row < height}


def check_chain(made: Chain, graph: Graph) -> None:
    """Simulate the calls: every row is there when a call reads it, no row is computed twice, and no row of an input of the chain is
    overwritten before its last use when the output begins the stated distance before it."""
    operators = {operator.output: operator for operator in graph.operators}
    present: dict[str, list[int]] = {}
    counts = {id(part): 0 for part in made.parts}
    written_to, steps = 0, []
    for event in made.events:
        part = event.part
        if part is None:
            continue
        window = operators[part.node.output].window
        rows = counts[id(part)] * part.made, (counts[id(part)] + 1) * part.made
        counts[id(part)] += 1
        for name in part.node.inputs:
            height = graph.tensors.image(name)[1]
            geometry = (window.kernel[0], window.stride[0], window.padding[0])
            needed = rows_read(rows, geometry, height)
            if name in made.inputs:
                steps.append(("read", name, needed, event))
            else:
                kept = part.images[name][1] if name == part.main else part.made
                assert needed <= set(present[name][-kept:]), "the rows lie in the window"
        fresh = present.setdefault(part.node.output, [])
        assert not set(range(*rows)) & set(fresh), "no row is computed twice"
        fresh += range(*rows)
        if event.written:
            written_to = event.written
            steps.append(("write", made.output, {written_to}, event))
    assert written_to == graph.tensors.image(made.output)[1]
    for name in made.inputs:
        size, distance = made.row_sizes[name], made.distances[name]
        overwritten = -distance
        for kind, which, rows_used, event in steps:
            last = event.part is made.parts[-1]
            if kind == "write":
                overwritten = max(rows_used) * made.row_sizes[made.output] - distance
            elif which == name and rows_used and not made.copied and not last:
                assert min(rows_used) * size >= overwritten, "the input is read before it is overwritten"


@pytest.mark.parametrize("seed", range(6))
def test_random_chains_find_every_row_in_their_windows(seed: int) -> None:
    chains = 0
    for graph, network in fused_networks(4, 100 + seed):
        layout = graph_layout(graph, fused=network.fused)
        for made in layout.chains.values():
            check_chain(made, graph)
            chains += 1
            areas = sorted((place.start, place.size) for place in made.places.values())
            assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(areas))
            assert all(start + size <= made.kernel_scratch for start, size in areas)
    assert chains >= 4


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("core", ["", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("seed", range(4))
def test_random_chains_are_exact_on_the_host(core: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = []
    for _, network in fused_networks(3, 200 + seed):
        assert network.fused
        inputs = rng.integers(-128, 128, (2, *network.input_shape), np.int8)
        cases.append((replace(network, core=core), inputs, None))
    flags = {"cortex-m4": ("-DNN_DSP_EMULATED",), "cortex-m55": ("-DNN_MVE_EMULATED",)}.get(core, ())
    for (network, inputs, _), outputs in zip(
        cases, host_run_all(cases, flags=(*SANITIZERS, *flags)), strict=True
    ):
        assert (outputs == network.run(inputs)).all()


@needs_emulator
@pytest.mark.slow(every=3)
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0", "cortex-m55"])
def test_a_chain_on_a_core_has_the_predicted_costs(core: str) -> None:
    graph, network = bottlenecks()
    network = replace(network, fused=(Fused(BODY, 2),), core=core)
    inputs = network.quantize_input(np.random.default_rng(0).normal(size=(2, 3, 24, 20)).astype(np.float32))
    measured = Emulator(core).measure(network, inputs)
    assert (measured.outputs == network.run(inputs)).all()
    predicted = predict(graph, operator_model(core), encodings={}, fused=network.fused)
    assert measured.static_ram == predicted.static_ram, "the arena and nothing else"
    assert abs(predicted.instructions / measured.instructions - 1) < 0.06
    assert set(measured.per_layer) == {"0", "2.add", "3", "4", "6"}, (
        "one mark for the layers that run together"
    )
    apart = Emulator(core).measure(replace(network, fused=()), inputs)
    assert measured.static_ram < 0.65 * apart.static_ram


def test_the_search_lowers_the_arena_only_where_a_goal_asks_for_it() -> None:
    graph, network = bottlenecks()
    before = plan(graph_layout(graph, "cortex-m4").problem).size
    assert chosen_fusions(graph, FusionGoal("cortex-m4")) == ()
    assert chosen_fusions(graph, FusionGoal("cortex-m4", most=float(before))) == (), "the budget is met"
    limited = chosen_fusions(graph, FusionGoal("cortex-m4", most=0.9 * before))
    smallest = chosen_fusions(graph, FusionGoal("cortex-m4", memory=True))
    sizes = [plan(graph_layout(graph, "cortex-m4", fused).problem).size for fused in (limited, smallest)]
    assert limited and sizes[1] <= sizes[0] <= 0.9 * before and sizes[1] < 0.6 * before
    assert c_plan(replace(network, fused=smallest), "cortex-m4").size == sizes[1], "the plan that is linked"
    model = operator_model("cortex-m4")
    assert (
        predict(graph, model, fused=limited).instructions
        <= predict(graph, model, fused=smallest).instructions
    )


def test_the_search_is_the_best_of_all_settings() -> None:
    graph, _ = bottlenecks()
    layout = graph_layout(graph)
    fusions = Fusions(
        layout, graph.tensors, tuple(graph.outputs.values()), "", lambda made: float(len(made.events))
    )
    least = fusions.least()
    rng = np.random.default_rng(0)
    for _ in range(60):
        fused = random_chains(layout, graph.tensors, rng)
        found = plan(graph_layout(graph, "", fused).problem)
        assert least.peak <= found.peak
    within = fusions.within(2 * least.peak)
    assert within is not None and within.cost <= least.cost and within.peak <= 2 * least.peak


def test_mobilenet_v2_fits_into_half_of_its_memory() -> None:
    graph = deployed(capture(mobilenet_v2((3, 96, 96), 10, 0.35).eval(), (3, 96, 96)))
    for core in ("cortex-m0", "cortex-m4"):
        fused = chosen_fusions(graph, FusionGoal(core, core, most=60_000.0))
        assert (
            plan(graph_layout(graph, core, fused).problem).size
            <= 60_000
            < plan(graph_layout(graph, core).problem).size
        )


@pytest.mark.parametrize(
    "fused",
    [
        Fused(("0", "2.body.0"), 2),  # the addition reads the first one as well
        Fused(("2.body.0", "2.body.4"), 2),
        Fused(BODY, 5),  # 12 rows
        Fused(BODY, 12),  # all rows at once
        Fused(("2.body.0", "nothing"), 1),
        Fused(("4", "6"), 1),
    ],
)
def test_layers_that_cannot_run_together_are_refused(fused: Fused) -> None:
    graph, network = bottlenecks()
    with pytest.raises(InvalidInput, match="fused"):
        generate(replace(network, fused=(fused,)))
    with pytest.raises(InvalidInput, match="fused"):
        graph_layout(graph, fused=(fused,))


def test_the_choice_is_stored_and_shown(tmp_path: Path) -> None:
    _, network = bottlenecks()
    network = replace(network, fused=(Fused(BODY, 2),))
    network.save(tmp_path / "network")
    assert IntegerNetwork.load(tmp_path / "network").fused == network.fused
    words = kernel_choices(network, "cortex-m3")
    assert set(words) == set(BODY) and words["2.body.0"].startswith(
        "2 rows of 2.add at a time, together with"
    )
    assert "generated" in kernel_choices(network, "cortex-m4")["2.body.2"]
    readme = generate(network).files["README.md"]
    assert (
        "2.body.0, 2.body.2, 2.body.4, 2.add run together, 2 rows of the last one's output at a time"
        in readme
    )
    with pytest.raises(InvalidInput, match="fused"):
        replace(network, fused=(Fused(("0",), 1),))


def test_padding_of_a_mean_is_no_row_outside() -> None:
    tensors = Tensors({"x": (2, 8, 8), "y": (2, 8, 8), "z": (2, 8, 8)}, {})
    graph = deployed(capture(nn.Sequential(nn.Conv2d(2, 2, 1), nn.AvgPool2d(3, 1, 1)).eval(), (2, 8, 8)))
    assert chain(graph_layout(graph).nodes, graph.tensors, 2) is None
    assert tensors.image("x") == (2, 8, 8)
