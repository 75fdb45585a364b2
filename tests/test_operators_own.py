"""An operator and a one-dimensional family from outside the package: the examples that docs/contributing.md shows."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_docs import DOCS, EXAMPLES
from support_operators import Applied, unregistered_afterwards
from support_programs import needs_compiler
from torch import nn

from sparsemod.arena import plan
from sparsemod.data.source import DATASETS
from sparsemod.emulator import Emulator, available
from sparsemod.errors import Unsupported
from sparsemod.export import export, expressible
from sparsemod.export.c import generate, host_run
from sparsemod.export.c import plan as c_plan
from sparsemod.export.c.layers import EMITTERS, Context, Emitted
from sparsemod.graph import Graph, Operator, capture, deployed, run_float
from sparsemod.kinds import KINDS, Kind
from sparsemod.measure import costs
from sparsemod.measure.nodes import graph_layout
from sparsemod.networks.family import FAMILIES
from sparsemod.pipeline.dry_run import check
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import device

pytestmark = needs_compiler


def execute(name: str) -> dict[str, object]:
    path = EXAMPLES / name
    space: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text(), str(path), "exec"), space)  # noqa: S102 - the example's own code
    return space


@pytest.fixture
def absolute() -> Iterator[None]:
    sys.modules.setdefault("operator_absolute", type(sys)("operator_absolute"))  # dataclasses look for it
    with unregistered_afterwards():
        execute("operator_absolute.py")
        yield
    del sys.modules["operator_absolute"]


def module() -> nn.Module:
    torch.manual_seed(3)
    return Applied(
        lambda x, conv, last: torch.copysign(last(torch.copysign(conv(x), 1).flatten(1)), 1),
        nn.Conv2d(2, 4, 3, padding=1),
        nn.Linear(4 * 25, 3),
    ).eval()


def test_the_example_is_short() -> None:
    for name in ("operator_absolute.py", "family_sequence.py"):
        assert len((EXAMPLES / name).read_text().splitlines()) < 60
        assert f"examples/{name}" in (DOCS / "contributing.md").read_text()


def test_an_operator_of_ones_own_goes_through_every_stage(absolute: None, tmp_path: Path) -> None:
    x = torch.randn(64, 2, 5, 5)
    graph = deployed(capture(module(), (2, 5, 5)))
    assert [o.kind for o in graph.operators] == ["conv", "absolute", "flatten", "linear", "absolute"]
    assert torch.allclose(run_float(graph, x), module()(x), atol=1e-5)
    network = quantize(graph, x)
    assert isinstance(network, IntegerNetwork)
    assert np.abs(network.logits(x) - module()(x).detach().numpy()).max() < 0.1
    assert IntegerNetwork.from_bytes(network.to_bytes()).to_bytes() == network.to_bytes()
    given = network.quantize_input(x)
    assert np.array_equal(host_run(network, given), network.run(given))
    # In place, and a view although it follows the flatten: the linear layer's columns are permuted. The convolution's result begins
    # 60 bytes before its input: position 23 is written when the input is needed from position 18 on.
    assert c_plan(network).size == plan(graph_layout(graph).problem).size == 60 + 2 * 25 + 18
    found = costs(graph, device("stm32f446"), nonzeros=network.layer_nonzeros())
    assert found["instructions"].detail["cores"] and found["latency"].value > 0
    assert all(v.largest_difference <= 1 for v in export("onnx", network, tmp_path).verifications)


KERNEL = """#include "kernels/nn.h"

void own_absolute(int32_t size, int32_t multiplier, int32_t shift, int32_t zero, int32_t made, const int8_t *x, int8_t *y);

void own_absolute(int32_t size, int32_t multiplier, int32_t shift, int32_t zero, int32_t made, const int8_t *x, int8_t *y)
{
    for (int32_t i = 0; i < size; ++i) {
        const int32_t d = x[i] - zero;
        y[i] = nn_clamped((((d < 0 ? -d : d) * multiplier + (1 << (shift - 1))) >> shift) + made, -128, 127);
    }
}
"""


def test_an_operator_brings_its_c_kernel(absolute: None, tmp_path: Path) -> None:
    def emit(context: Context, layer: Any) -> Emitted:
        zero, made, size = (
            context.zero(layer.inputs[0]),
            context.zero(layer.output),
            context.size(layer.output),
        )
        call = f"own_absolute({size}, {layer.multiplier}, {layer.shift}, {zero}, {made}, {{in0}}, {{out}});"
        declared = KERNEL.split("\n\n")[1] + "\n"
        return Emitted(
            [call], ("own_absolute",), "|x|", constants=declared, own_kernels={"own_absolute.c": KERNEL}
        )

    EMITTERS._members["absolute"] = emit
    network = quantize(module(), torch.randn(16, 2, 5, 5))
    given = network.quantize_input(torch.randn(12, 2, 5, 5))
    assert "kernels/own_absolute.c" in generate(network).sources
    assert np.array_equal(host_run(network, given), network.run(given))
    if available("cortex-m4") is None:
        assert np.array_equal(Emulator("cortex-m4").measure(network, given).outputs, network.run(given))


def test_a_stage_without_a_rule_names_stage_operator_and_layer(absolute: None, tmp_path: Path) -> None:
    network = quantize(module(), torch.randn(8, 2, 5, 5))
    assert expressible("absolute") == ("c", "onnx")
    with pytest.raises(
        Unsupported, match=r"the tflite export .*'absolute' at layer 'absolute'.*supported by: c, onnx"
    ):
        export("tflite", network, tmp_path)


def test_a_kind_without_rules_is_unsupported_by_every_stage() -> None:
    with unregistered_afterwards():
        KINDS.add("odd", Kind("odd", "no stage knows it", weighted=True))
        shapes, state = {"x": (3,), "y": (3,)}, {"w": torch.ones(3, 3)}
        graph = Graph("x", "y", (Operator("blocks.0.odd", "odd", ("x",), "y", weight="w"),), shapes, state)
        stages = {
            "the float interpreter": lambda: run_float(graph, torch.zeros(1, 3)),
            "static quantization": lambda: quantize(graph, torch.zeros(1, 3)),
            "the memory plan": lambda: graph_layout(graph),
            "the count of multiply-adds": lambda: costs(graph, device("stm32f446"), latency="macs", operations_per_second=1.0),
        }  # fmt: skip
        for title, call in stages.items():
            with pytest.raises(Unsupported) as refused:
                call()
            assert refused.value.operator == "odd" and refused.value.layer == "blocks.0.odd"
            assert refused.value.by in (title, "the memory plan")
    with pytest.raises(Unsupported, match=r"'odd' at layer 'blocks.0.odd'"):
        deployed(graph)


SEQUENCES = {
    "name": "sequences",
    "dataset": {"name": "waves", "options": {"samples": 240}},
    "network": {"family": "temporal"},
    "rounds": {
        "r1": {"trials": 2, "epochs": 1},
        "r2": {"trials": 1, "epochs": 1},
        "r3": {"trials": 1, "epochs": 1},
    },
    "training": {"batch_size": 32},
    "measure": {"device": "model"},
}


@pytest.fixture
def sequences() -> Iterator[None]:
    with unregistered_afterwards(DATASETS, FAMILIES):
        execute("family_sequence.py")
        yield


def test_a_one_dimensional_family_is_checked_and_searched(sequences: None, tmp_path: Path) -> None:
    spec = ExperimentSpec.parse(SEQUENCES)
    report = check(spec, candidates=1, draws=5)
    assert report.ok, report
    run = LocalRun(spec, tmp_path / "run")
    run.run()
    assert [trial.result.state for trial in run.trials] == [TrialState.COMPLETED] * 4
    for trial in run.trials:
        (artifact,) = [a for a in trial.result.artifacts if a.kind == "network"]
        network = IntegerNetwork.load(run.artifact(artifact.digest))
        assert network.input_shape == (2, 48)
        given = np.random.default_rng(0).integers(-128, 128, (16, 2, 48)).astype(np.int8)
        assert np.array_equal(host_run(network, given), network.run(given))
