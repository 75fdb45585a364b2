"""Networks in the style of published ones, through every stage: capture, int8, compiled C, costs, ONNX, TensorFlow Lite."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from support_zoo import ZOO

from sparsemod.emulator import Emulator
from sparsemod.errors import SparsemodError, Unsupported
from sparsemod.export.c.host import host_run_all
from sparsemod.export.onnx.exporter import _run as run_onnx
from sparsemod.export.onnx.exporter import _session, to_onnx
from sparsemod.export.tflite.exporter import _run as run_tflite
from sparsemod.export.tflite.exporter import to_tflite
from sparsemod.graph import capture, deployed, run_float
from sparsemod.measure.predicted import predict
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.targets import operator_model

pytestmark = pytest.mark.slow(every=6)

REFUSED = {"vision transformer": "scaled_dot_product_attention", "recurrent network": "gru"}
QUANTA = 5  # most between an exported file's runtime and the integer network, in any of these networks
NAMES = [name for name in ZOO if name not in REFUSED]


@cache
def quantized(name: str) -> tuple[torch.nn.Module, torch.Tensor, IntegerNetwork]:
    make, shape = ZOO[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, x = make().eval(), torch.randn(12, *shape)
    network = quantize(module, x, largest_only=True)
    assert isinstance(network, IntegerNetwork)
    return module, x, network


def test_at_least_93_percent_are_supported() -> None:
    reached = 0
    for name in ZOO:
        try:
            quantized(name)
            reached += 1
        except SparsemodError:
            assert name in REFUSED
    assert reached / len(ZOO) >= 0.93 and len(ZOO) >= 48


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused_in_one_clear_error(name: str) -> None:
    make, shape = ZOO[name]
    with pytest.raises(Unsupported, match=rf"{REFUSED[name]}' at layer '"):
        capture(make().eval(), shape)


@pytest.mark.parametrize("name", NAMES)
def test_float_and_integer_agree(name: str) -> None:
    module, x, network = quantized(name)
    graph, truth = capture(module, tuple(x.shape[1:])), module(x).detach()
    for one in (graph, deployed(graph)):
        assert torch.allclose(run_float(one, x), truth, atol=1e-4, rtol=1e-4)
    if "softmax" not in name:
        whole = quantize(graph, x)
        scale = whole.tensors[whole.output].scale
        assert np.abs(whole.logits(x) - truth.numpy()).max() < 4 * scale
    assert (
        predict(deployed(graph), operator_model("cortex-m4")).instructions > 0 if "log" not in name else True
    )
    assert IntegerNetwork.from_bytes(network.to_bytes()).to_bytes() == network.to_bytes()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc")
def test_compiled_c_gives_the_same_bytes() -> None:
    cases = [(quantized(name)[2], quantized(name)[2].quantize_input(quantized(name)[1])) for name in NAMES]
    for name, (network, images), outputs in zip(NAMES, cases, host_run_all(cases), strict=True):
        assert np.array_equal(outputs, network.run(images)), name


@needs_emulator
def test_an_emulated_core_gives_the_same_bytes() -> None:
    cases = [
        (quantized(name)[2], quantized(name)[2].quantize_input(quantized(name)[1][:2])) for name in NAMES[::3]
    ]
    for name, (network, images), outputs in zip(
        NAMES[::3], cases, Emulator("cortex-m4").outputs(cases), strict=True
    ):
        assert np.array_equal(outputs, network.run(images)), name


@pytest.mark.parametrize("name", NAMES)
def test_exported_files_agree_within_quanta(name: str, tmp_path: Path) -> None:
    _, x, network = quantized(name)
    images = network.quantize_input(x)
    wanted = network.run(images).astype(int)
    pytest.importorskip("onnxruntime")
    assert (
        np.abs(run_onnx(network, _session(to_onnx(network), True), images).astype(int) - wanted).max()
        <= QUANTA
    )
    pytest.importorskip("ai_edge_litert")
    assert np.abs(run_tflite(network, to_tflite(network), images).astype(int) - wanted).max() <= QUANTA
