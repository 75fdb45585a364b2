"""Every kind of layer against cost rule, integer kernel and exporters; exported files against the network they came from."""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_export import Every, contents, quantized
from support_operators import unregistered_afterwards
from torch import nn

from sparsemod.calibration.networks import random_network
from sparsemod.errors import ToolsMissing, UnknownName, Unsupported
from sparsemod.export import EXPORTERS, ExportReport, export
from sparsemod.export.onnx.exporter import to_onnx
from sparsemod.export.report import VERIFICATION
from sparsemod.export.tflite.exporter import to_tflite
from sparsemod.kinds import KINDS, Kind
from sparsemod.quantization import IntegerNetwork, TensorInfo, quantize
from sparsemod.quantization.arithmetic import dequantize_values
from sparsemod.quantization.interpreter import trace
from sparsemod.quantization.layers import Add, Clamp, Layer, MaxPool

FORMATS = EXPORTERS.names()
MICRO = "sparsemod.export.tflite.exporter.run_micro"


def left_out(content: bytes) -> str:
    """A process for each layer would take long; `test_the_runtimes_that_check` has it."""
    return "left out"


# -- refusals


class Strange(Layer):
    """A kind that no format supports."""

    kind = "strange"

    def shape(self, inputs: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        return inputs[0]


@pytest.fixture
def strange() -> Iterator[None]:
    with unregistered_afterwards():
        KINDS.add("strange", Kind("strange", "a kind that no format knows"))
        yield


def _single(layer: Layer, shape: tuple[int, ...], scale: float = 0.5) -> IntegerNetwork:
    made = layer.shape(tuple(shape for _ in layer.inputs))
    tensors = {"x": TensorInfo(shape, scale, 3), "y": TensorInfo(made, scale, 3)}
    return IntegerNetwork("x", "y", tensors, (layer,))


@pytest.mark.parametrize("name", FORMATS)
def test_an_unknown_layer_is_refused_by_every_format(name: str, strange: None, tmp_path: Path) -> None:
    network = _single(Strange("odd.one", ("x",), "y"), (2, 4, 4))
    with pytest.raises(Unsupported, match=r"strange.*odd.one.*no format supports it"):
        export(name, network, tmp_path / name)


def test_a_refusal_names_the_formats_that_can(tmp_path: Path) -> None:
    pool = MaxPool("pool.dilated", ("x",), "y", kernel=(2, 2), dilation=(2, 2))
    network = _single(pool, (2, 6, 6))
    with pytest.raises(Unsupported) as refused:
        export("tflite", network, tmp_path / "tflite")
    assert all(
        word in str(refused.value) for word in ("tflite", "dilation", "pool.dilated", "supported by: c, onnx")
    )
    for name in ("c", "onnx"):
        assert export(name, network, tmp_path / name).verifications[0].exact


def test_factors_that_scales_do_not_give_are_refused(tmp_path: Path) -> None:
    add = Add("sum", ("x", "x"), "y", multipliers=(100, 100), shift=10)
    network = _single(add, (3, 2, 2))
    for name in ("onnx", "tflite"):
        with pytest.raises(Unsupported, match=r"sum.*scales; supported by: c"):
            export(name, network, tmp_path / name)


def test_an_unknown_format() -> None:
    with pytest.raises(UnknownName, match="c, onnx, tflite"):
        export("pdf", quantized(Every), "nowhere")


# -- the files


@pytest.fixture(scope="module")
def every() -> IntegerNetwork:
    return quantized(Every)


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(96, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, 96)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_gives_its_networks_outputs(
    name: str, every: IntegerNetwork, digits: tuple[Any, Any], tmp_path: Path
) -> None:
    samples, labels = digits
    report = export(name, every, tmp_path, samples=samples, labels=labels, data="noise")
    assert report.missing == () and report.failure is None
    beside = ExportReport.model_validate_json((tmp_path / VERIFICATION).read_text())
    assert beside == report.model_copy(update={"seconds": 0.0})  # the only thing that is not in the file
    written = {path: len(data) for path, data in contents(tmp_path).items() if path != VERIFICATION}
    assert written == {file.name: file.size for file in report.files}
    for check in report.verifications:
        assert check.data == "noise" and check.network_error == every.error(
            samples[: check.samples], labels[: check.samples]
        )
        assert check.largest_difference <= (0 if name == "c" else 2) and check.agreement > 0.95
        assert check.error is not None and abs(check.error - check.network_error) < 0.05


def test_the_runtimes_that_check(every: IntegerNetwork, tmp_path: Path) -> None:
    runtimes = {
        name: [check.runtime.split()[0] for check in export(name, every, tmp_path / name).verifications]
        for name in FORMATS
    }
    assert runtimes == {"c": ["compiled"], "onnx": ["onnxruntime"] * 2, "tflite": ["LiteRT", "TensorFlow"]}


def test_equal_networks_give_equal_files(every: IntegerNetwork) -> None:
    again = IntegerNetwork.from_bytes(every.to_bytes())
    assert to_onnx(every) == to_onnx(again) and to_tflite(every) == to_tflite(again)


def test_a_project_exported_again_is_the_same(every: IntegerNetwork, tmp_path: Path) -> None:
    """All of its files, including the report of the check: equal networks give equal digests."""
    for folder in ("first", "second"):
        export("c", every, tmp_path / folder)
    first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
    assert VERIFICATION in first and first == second


def test_the_onnx_file_holds_the_networks_own_numbers(every: IntegerNetwork) -> None:
    model = onnx.load_from_string(to_onnx(every, "mine"))
    assert model.graph.name == "mine"
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for layer in every.layers:
        if layer.kind in ("conv", "linear"):
            assert np.array_equal(held[f"{layer.output}/weight_q"], layer.weight)
            assert np.array_equal(held[f"{layer.output}/bias_q"], layer.bias)
            assert np.array_equal(held[f"{layer.output}/weight_scale"], layer.weight_scale)
    for name, tensor in every.tensors.items():
        if f"{name}/scale" in held:
            assert (float(held[f"{name}/scale"]), int(held[f"{name}/zero_point"])) == (
                tensor.scale,
                tensor.zero_point,
            )


def test_the_tflite_file_is_int8_and_reports_its_arena(every: IntegerNetwork, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    report = export("tflite", every, tmp_path)
    assert report.memory["arena"] == report.memory["arena_head"] + report.memory["arena_tail"] > 1000
    made = Interpreter(model_path=str(tmp_path / "network.tflite"))
    (given,), (result,) = made.get_input_details(), made.get_output_details()
    assert given["dtype"] == result["dtype"] == np.int8 and list(given["shape"]) == [1, 8, 8, 1]
    assert given["quantization"][1] == every.tensors[every.input].zero_point
    assert given["quantization"][0] == pytest.approx(every.tensors[every.input].scale)
    kinds = {made._get_op_details(i)["op_name"] for i in range(len(made._get_ops_details()))}
    assert {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "ADD",
        "CONCATENATION",
        "MEAN",
        "MAX_POOL_2D",
    } <= kinds


EDGES: dict[str, nn.Module] = {
    "same": nn.Conv2d(2, 4, 3, stride=2, padding=1),
    "uneven": nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(2, 3, (3, 2))),
    "dilated": nn.Conv2d(2, 4, 2, padding=2, dilation=2),
    "twice": nn.Conv2d(2, 4, 3, padding=1, groups=2),
    "max_ceil": nn.MaxPool2d(2, 2, ceil_mode=True),
    "max_padded": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "max_one": nn.MaxPool2d((2, 1), (1, 2)),
    "mean": nn.AvgPool2d(2),
    "mean_counted": nn.AvgPool2d(3, 2, 1),
    "mean_not_counted": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "mean_ceil": nn.AvgPool2d(2, 2, ceil_mode=True),
    "mean_ceil_counted": nn.AvgPool2d(3, 3, 1, ceil_mode=True),
    "mean_ceil_uneven": nn.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False),
}
REFUSED = {("tflite", "mean_ceil_counted"), ("tflite", "mean_ceil_uneven")}


@pytest.mark.slow
@pytest.mark.parametrize("edge", EDGES)
def test_windows_at_the_edge(edge: str, tmp_path: Path) -> None:
    network = quantized(EDGES[edge], (2, 7, 9))
    for name in FORMATS:
        if (name, edge) in REFUSED:
            with pytest.raises(Unsupported, match=r"avg_pool.*supported by: c, onnx"):
                export(name, network, tmp_path / name)
            continue
        for check in export(name, network, tmp_path / name).verifications:
            assert check.largest_difference <= (0 if name == "c" else 1), (name, check)


# Forms of layers that TensorFlow Lite has no operator for.
NOT_IN_TFLITE = ("avg_pool", "l2_normalize at each position")


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_every_layer_of_random_networks_is_within_one_quantum(seed: int) -> None:
    module, shape = random_network(np.random.default_rng(seed))
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(6, *shape)).astype(np.float32))
    network = quantize(module, x, "static")
    assert isinstance(network, IntegerNetwork)
    held = trace(network, network.quantize_input(x))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(MICRO, left_out)
        for layer in network.layers:
            if len(layer.inputs) > 1:
                continue
            names = (layer.inputs[0], layer.output)
            alone = IntegerNetwork(*names, {name: network.tensors[name] for name in names}, (layer,))
            source = network.tensors[names[0]]
            real = dequantize_values(held[names[0]], source.scale, source.zero_point)
            for name in ("onnx", "tflite"):
                try:
                    report = export(name, alone, Path(folder) / name, samples=real)
                except Unsupported as error:
                    if layer.traits.reads_wide:
                        assert "supported by: c" in str(error)
                        continue
                    if layer.traits.recurrent:
                        assert name == "tflite" and "supported by: c, onnx" in str(error)
                        continue
                    assert (
                        name == "tflite"
                        and any(kind in str(error) for kind in NOT_IN_TFLITE)
                        and "supported by: c, onnx" in str(error)
                    )
                    continue
                for check in report.verifications:
                    assert check.largest_difference <= 1, (layer, check)


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (3, 127), (3, 15), (-20, 30)])
def test_bounds_are_kept(low: int, high: int, tmp_path: Path) -> None:
    network = _single(Clamp("clamp", ("x",), "y", low=low, high=high), (2, 3, 3))
    for name in FORMATS:
        assert all(check.exact for check in export(name, network, tmp_path / name).verifications), name


# -- missing tools


def test_missing_packages_are_named_with_their_command(
    every: IntegerNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        (words,) = export("onnx", every, tmp_path / "onnx").missing
        assert "pip install 'sparsemod[onnx]'" in words
        patch.setattr("sparsemod.export.tflite.micro.find_spec", lambda name: None)
        (words,) = export("tflite", every, tmp_path / "tflite").missing
        assert "pip install 'sparsemod[tflite]'" in words
        patch.setitem(sys.modules, "onnx", None)
        with pytest.raises(ToolsMissing, match=r"sparsemod\[onnx\]"):
            export("onnx", every, tmp_path / "again")
        patch.setitem(sys.modules, "ai_edge_litert", None)
        with pytest.raises(ToolsMissing, match=r"sparsemod\[tflite\]"):
            export("tflite", every, tmp_path / "again")
    assert json.loads((tmp_path / "onnx" / VERIFICATION).read_text())["verifications"] == []


def test_a_padding_that_costs_a_copy_has_a_note_with_one_that_costs_none(tmp_path: Path) -> None:
    made: dict[str, tuple[tuple[str, ...], list[int]]] = {}
    layers = {
        "stated": [nn.Conv2d(1, 2, 3, 2, 1)],
        "padded": [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 2, 3, 2)],
    }
    for name, parts in layers.items():
        network = quantize(nn.Sequential(*parts), torch.randn(8, 1, 8, 8))
        assert isinstance(network, IntegerNetwork)
        report = export("tflite", network, tmp_path / name)
        made[name] = (report.notes, [v.largest_difference for v in report.verifications])
    (note,) = made["stated"][0]
    assert note == (
        "0: its padding costs a copy of 100 bytes; functional.pad(x, (0, 1, 0, 1)) before a convolution with padding=0 costs none"
    )
    assert made["padded"][0] == () and max(made["padded"][1]) <= 1
