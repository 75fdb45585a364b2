"""Every kind of operator through every stage: a rule that is exercised with numbers, or Unsupported that names stage, kind and layer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support_operators import EXAMPLES, Example
from support_programs import needs_compiler
from support_quantization import slow_run
from torch import Tensor

from sparsemod.arena import plan
from sparsemod.arena.memory import MEMORY
from sparsemod.errors import Unsupported
from sparsemod.export import export
from sparsemod.export.c import plan as c_plan
from sparsemod.export.c.dynamic import host_run_all as host_run_dynamic
from sparsemod.export.c.dynamic.layers import DYNAMIC_EMITTERS
from sparsemod.export.c.host import host_run_all
from sparsemod.export.c.layers import EMITTERS
from sparsemod.export.onnx.layers import RULES as ONNX
from sparsemod.export.tflite.exporter import _run, to_tflite
from sparsemod.export.tflite.layers import RULES as TFLITE
from sparsemod.graph import Graph, Operator, capture, deployed, run_float
from sparsemod.graph.aten import captured_from
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.macs import MACS, operator_macs
from sparsemod.kinds import KINDS, Stage
from sparsemod.measure.nodes import graph_layout, node
from sparsemod.measure.work import FEATURES, layer_instructions, works
from sparsemod.pruning import planned_shrink_graph
from sparsemod.pruning.channels import CHANNELS
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.arithmetic import dequantize_values
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.quantization.dynamic_rules import DYNAMIC
from sparsemod.quantization.interpreter import trace
from sparsemod.quantization.kernels.base import KERNELS
from sparsemod.quantization.layers import LAYERS
from sparsemod.quantization.static import RULES
from sparsemod.targets import operator_model

pytestmark = [
    pytest.mark.slow(every=6),
    needs_compiler,
]


@dataclass(frozen=True, eq=False)
class Case:
    """An example on its way: captured, deployed, quantized; `x` are its samples."""

    example: Example
    module: torch.nn.Module
    x: Tensor
    captured: Graph
    graph: Graph
    network: IntegerNetwork

    @property
    def layer(self) -> str:
        """The kind of the integer layer."""
        return KINDS.get(self.example.kind).layer

    def operator(self, graph: Graph) -> Operator:
        """The operator of the example's kind; for an integer layer alone that of the layer."""
        return next(o for o in graph.operators if self.layer in (o.kind, o.traits.layer))


@cache
def case(index: int) -> Case:
    example = EXAMPLES[index]
    with torch.random.fork_rng():
        torch.manual_seed(index)
        module, x = example.module().eval(), 4 * torch.randn(24, *example.shape)
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    captured = capture(module, example.shape, example.layout)
    graph = deployed(captured)
    network = quantize(graph, x)
    assert isinstance(network, IntegerNetwork)
    return Case(example, module, x, captured, graph, network)


# -- the result of a rule, by stage


def _capture(case: Case, folder: Path) -> None:
    found = [o for o in case.captured.operators if o.kind == case.example.kind]
    if case.example.kind == "pad":
        assert case.captured.operators[0].window.padding == (0, 0, 1, 2)
    else:
        assert found and set(captured_from(case.example.kind))


def _float(case: Case, folder: Path) -> None:
    for graph in (case.captured, case.graph):
        assert torch.allclose(run_float(graph, case.x), case.module(case.x), atol=1e-4, rtol=1e-4)


def _macs(case: Case, folder: Path) -> None:
    operator = case.operator(case.graph)
    size, taps = case.graph.elements(operator.output), operator.attributes.get("inner")
    if operator.traits.recurrent:
        size, taps = operator.attributes["steps"], case.graph.state[operator.weight].numel()
    elif taps is None:
        taps = case.graph.state[operator.weight][0].numel()
    assert operator_macs(case.graph, operator) == size * taps > 0


def _pruned(case: Case, folder: Path) -> None:
    small = planned_shrink_graph(case.captured, 0.5)
    assert all(o.kind == p.kind for o, p in zip(small.operators, case.captured.operators, strict=True))
    outputs = run_float(small, case.x)  # whichever filters are left, the layers fit each other
    assert (
        tuple(outputs.shape[1:]) == small.shapes[small.output] == case.captured.shapes[case.captured.output]
    )


def _quantized(case: Case, folder: Path) -> None:
    assert case.layer in [layer.kind for layer in case.network.layers]
    info = case.network.tensors[case.network.output]
    real, truth = case.network.logits(case.x), case.module(case.x).detach().numpy()
    assert np.abs(real - truth).max() < 6 * info.scale + 0.02 * np.abs(truth).max()


def _layer(case: Case, folder: Path) -> None:
    network = case.network
    for layer in network.layers:
        shapes = tuple(network.tensors[name].shape for name in layer.inputs)
        assert layer.shape(shapes) == network.tensors[layer.output].shape
    assert IntegerNetwork.from_bytes(network.to_bytes()).to_bytes() == network.to_bytes()


def _kernel(case: Case, folder: Path) -> None:
    given = case.network.quantize_input(case.x[:4])
    assert np.array_equal(case.network.run(given), slow_run(case.network, given))
    made = trace(case.network, given)[case.network.output]
    info = case.network.tensors[case.network.output]
    assert np.unique(dequantize_values(made, info.scale, info.zero_point)).size > 1


def _memory(case: Case, folder: Path) -> None:
    operator = case.operator(case.graph)
    needs = MEMORY.rule(case.layer, operator.name)(node(operator), case.graph.tensors)
    size = plan(graph_layout(case.graph).problem).size
    assert (
        size
        == c_plan(case.network).size
        >= needs.scratch + case.graph.elements(case.graph.input) * (case.graph.input in operator.inputs)
    )


def _features(case: Case, folder: Path) -> None:
    operator, model = case.operator(case.graph), operator_model("cortex-m4")
    loops = FEATURES.rule(case.layer, operator.name)(case.graph.tensors, node(operator))
    assert sum(loops.features.values()) > 0 and loops.kernel in model.instructions
    for work in works(case.graph):
        assert layer_instructions(work.kernel, work.features, model) > 0


def _c(case: Case, folder: Path) -> None:
    outputs = _compiled()[EXAMPLES.index(case.example)]
    assert np.array_equal(outputs, case.network.run(case.network.quantize_input(case.x)))


@cache
def _compiled() -> list[np.ndarray]:
    """All examples in one program."""
    cases = [case(index) for index in range(len(EXAMPLES))]
    return host_run_all([(c.network, c.network.quantize_input(c.x)) for c in cases])


def _onnx(case: Case, folder: Path) -> None:
    assert all(v.largest_difference <= 1 for v in export("onnx", case.network, folder).verifications)


def _tflite(case: Case, folder: Path) -> None:
    given = case.network.quantize_input(case.x)
    outputs = _run(case.network, to_tflite(case.network), given)
    assert np.abs(outputs.astype(int) - case.network.run(given)).max() <= 1


def _dynamic(case: Case, folder: Path) -> None:
    network = quantize(case.graph, case.x, "dynamic")
    assert isinstance(network, DynamicNetwork)
    truth = case.module(case.x).detach().numpy()
    found = network.logits(case.x.numpy())
    assert np.abs(found - truth).max() < 0.05 * np.abs(truth).max() + 1e-4


def _dynamic_c(case: Case, folder: Path) -> None:
    network = quantize(case.graph, case.x, "dynamic")
    assert isinstance(network, DynamicNetwork)
    samples = np.ascontiguousarray(case.x[:4].numpy())
    (outputs,) = host_run_dynamic([(network, samples)])
    assert np.array_equal(outputs, network.logits(samples).reshape(outputs.shape))


Exercise = Callable[[Case, Path], None]
CAPTURED: tuple[tuple[str, Stage | None, Exercise], ...] = (
    ("capture", None, _capture),
    ("float", FLOAT, _float),
    ("macs", MACS, _macs),
    ("pruning", CHANNELS, _pruned),
    ("quantization", RULES, _quantized),
    ("dynamic", DYNAMIC, _dynamic),
    ("dynamic c", DYNAMIC_EMITTERS, _dynamic_c),
)
LAYERED: tuple[tuple[str, Stage, Exercise], ...] = (
    ("layer", LAYERS, _layer),
    ("kernel", KERNELS, _kernel),
    ("memory", MEMORY, _memory),
    ("features", FEATURES, _features),
    ("c", EMITTERS, _c),
    ("onnx", ONNX, _onnx),
    ("tflite", TFLITE, _tflite),
)
LAYER_STAGES = tuple(name for name, _, _ in LAYERED)
# Cells that answer Unsupported; every other one has a rule.
MISSING = {
    ("clamp", "capture"),  # relu and relu6 become one when they are quantized
    ("clamp", "float"),
    ("clamp", "pruning"),
    ("clamp", "quantization"),
    ("pad", "float"),  # part of a convolution as soon as the capture is complete
    ("pad", "pruning"),
    ("pad", "quantization"),
    ("batch_norm", "quantization"),  # no deployed graph holds one
    ("affine", "quantization"),  # nor one of these
    *(("batch_norm", stage) for stage in LAYER_STAGES),
    *(("affine", stage) for stage in LAYER_STAGES),
    *(("pad", stage) for stage in LAYER_STAGES),
    # no tensor of these formats says how many steps are valid; TensorFlow Lite has other recurrent layers
    *((kind, stage) for kind in ("last_step", "mean_steps") for stage in ("onnx", "tflite")),
    # neither has samples of 16 bits with these integer steps
    *((kind, stage) for kind in ("band_energies", "window_statistics") for stage in ("onnx", "tflite")),
    ("gru", "tflite"),
    ("lstm", "tflite"),
    *((kind, "macs") for kind in KINDS.names() if not MACS.has(kind)),
    # layers with int8 weights have no rule for float tensors; other kinds run as floats, and have no C
    *((kind, "dynamic") for kind in KINDS.names() if not DYNAMIC.has(kind)),
    *((kind, "dynamic c") for kind in KINDS.names() if not DYNAMIC_EMITTERS.has(kind)),
}


def test_every_kind_has_an_example() -> None:
    assert {example.kind for example in EXAMPLES} == set(KINDS.names())
    sequences = {example.kind for example in EXAMPLES if len(example.shape) == 2}
    assert {kind for kind in KINDS.names() if KINDS.get(kind).positions} <= sequences


@pytest.mark.parametrize(
    "index", range(len(EXAMPLES)), ids=lambda i: f"{EXAMPLES[i].kind}-{len(EXAMPLES[i].shape)}"
)
@pytest.mark.parametrize("stage", [name for name, _, _ in (*CAPTURED, *LAYERED)])
def test_a_cell(stage: str, index: int, tmp_path: Path) -> None:
    example = EXAMPLES[index]
    rules, exercise = next((rules, found) for name, rules, found in (*CAPTURED, *LAYERED) if name == stage)
    kind = KINDS.get(example.kind).layer if stage in LAYER_STAGES else example.kind
    if (example.kind, stage) not in MISSING:
        assert rules is None or rules.has(kind), f"{stage} lost its rule for {kind}"
        exercise(case(index), tmp_path)
        return
    with pytest.raises(Unsupported) as refused:
        captured_from(kind) if rules is None else rules.rule(kind, "blocks.0.odd")
    title = "capture" if rules is None else rules.title
    layer = "any" if rules is None else "blocks.0.odd"
    assert str(refused.value).startswith(f"{title} does not support operator {kind!r} at layer {layer!r}")


def test_kinds_without_weights_cost_no_multiply_adds() -> None:
    for index, example in enumerate(EXAMPLES):
        if not MACS.has(example.kind) and example.stays:
            assert operator_macs(case(index).graph, case(index).operator(case(index).graph)) == 0
