"""Networks in the style of published ones, through every stage: capture, int8, compiled C, costs, ONNX, TensorFlow Lite."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from support_programs import needs_compiler
from support_zoo import ZOO

from sparsemod.emulator import Emulator
from sparsemod.errors import Unsupported
from sparsemod.export.c.host import host_run_all, host_run_named
from sparsemod.export.onnx.exporter import _session, to_onnx
from sparsemod.export.onnx.exporter import run_named as run_onnx
from sparsemod.export.tflite.exporter import run_named as run_tflite
from sparsemod.export.tflite.exporter import to_tflite
from sparsemod.graph import Graph, capture, deployed, run_float_named, without_ending
from sparsemod.measure.predicted import predict
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.targets import operator_model

pytestmark = pytest.mark.slow(every=6)

NOT_EXPORTED = {"recurrent network": "gru"}  # in TensorFlow Lite
QUANTA = 5  # most between an exported file's runtime and the integer network, in any of these networks
NAMES = list(ZOO)


@cache
def quantized(name: str) -> tuple[Graph, Graph, dict[str, torch.Tensor], IntegerNetwork]:
    """The captured graph, that of which the integer network is made, samples, and the integer network."""
    make, shape = ZOO[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make().eval()
        graph = capture(module, shape)
        x = {each: torch.randn(12, *graph.shapes[each]) for each in graph.inputs}
    if isinstance(shape, tuple):
        truth = {"output": module(*x.values())} if not graph.other_outputs else None
        for one in (graph, deployed(graph)) if truth else ():
            for key, values in run_float_named(one, x).items():
                assert torch.allclose(values, truth[key], atol=1e-4, rtol=1e-4)
    short = without_ending(graph)[0]
    network = quantize(short, x)
    assert isinstance(network, IntegerNetwork)
    return graph, short, x, network


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_what_a_format_cannot_express_is_refused_in_one_clear_error(name: str) -> None:
    network = quantized(name)[3]
    with pytest.raises(Unsupported, match=rf"{NOT_EXPORTED[name]}' at layer '"):
        to_tflite(network)


@pytest.mark.parametrize("name", NAMES)
def test_float_and_integer_agree(name: str) -> None:
    graph, _, x, network = quantized(name)
    whole, truth = quantize(graph, x), run_float_named(graph, x)
    assert isinstance(whole, IntegerNetwork)
    for output, tensor in whole.outputs.items():
        error = (
            np.abs(whole.logits_named(x)[output] - truth[output].numpy()).max() / whole.tensors[tensor].scale
        )
        assert error < (9 if "softmax" in name or "transformer" in name else 5)
    assert predict(deployed(graph), operator_model("cortex-m4")).instructions > 0
    assert IntegerNetwork.from_bytes(network.to_bytes()).to_bytes() == network.to_bytes()


@needs_compiler
def test_compiled_c_gives_the_same_bytes() -> None:
    networks = [quantized(name)[3] for name in NAMES]
    cases = [
        (network, network.quantize_named(quantized(name)[2]))
        for name, network in zip(NAMES, networks, strict=True)
    ]
    alone = [case for case in cases if not case[0].several]
    outputs = host_run_all([(network, inputs[network.input]) for network, inputs in alone])
    for (network, inputs), found in zip(alone, outputs, strict=True):
        assert np.array_equal(found, network.run_named(inputs)["output"])
    for network, inputs in cases:
        if network.several:
            same(host_run_named(network, inputs), network.run_named(inputs))


def same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert list(found) == list(wanted) and all(np.array_equal(found[key], wanted[key]) for key in wanted)


@needs_emulator
def test_an_emulated_core_gives_the_same_bytes() -> None:
    cases = []
    for name in NAMES[::2]:
        _, _, x, network = quantized(name)
        cases.append((network, network.quantize_named({key: values[:2] for key, values in x.items()})))
    for (network, inputs), found in zip(cases, Emulator("cortex-m4").outputs_named(cases), strict=True):
        same(found, network.run_named(inputs))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_EXPORTED])
def test_exported_files_agree_within_quanta(name: str, tmp_path: Path) -> None:
    _, _, x, network = quantized(name)
    inputs = network.quantize_named(x)
    wanted = network.run_named(inputs)
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    for found in (
        run_onnx(network, _session(to_onnx(network), True), inputs), run_tflite(network, to_tflite(network), inputs),
    ):  # fmt: skip
        assert all(np.abs(found[key].astype(int) - wanted[key]).max() <= QUANTA for key in wanted)
