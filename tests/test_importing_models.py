"""Models of other tools: ONNX and TensorFlow Lite files, float and int8, compared with their runtimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_models import (
    float_tflite,
    node,
    onnx_model,
    parsed,
    quantized_onnx,
    run_onnx,
    small_cnn,
    weights,
)
from torch import nn

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.importing import Source, read_model
from sparsemod.pipeline.model_runtime import compare_with_file

X = np.random.default_rng(0).normal(size=(16, 1, 8, 8)).astype(np.float32)


def module_of(content: bytes, name: str = "m.onnx") -> nn.Module:
    found = read_model(Source(name, content))
    assert found.module is not None
    return found.module


def outputs(module: nn.Module, x: Any) -> Any:
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def test_a_float_onnx_model_computes_what_its_runtime_computes() -> None:
    content = small_cnn()
    module = module_of(content)
    np.testing.assert_allclose(outputs(module, X), run_onnx(content, X), atol=1e-5)
    assert {"c1", "c2", "c3", "y"} <= {name for name, _ in module.named_children()}
    assert isinstance(module.c1, nn.Conv2d) and isinstance(module.y, nn.Linear)


CASES = {
    "batch norm": ([node("BatchNormalization", "x s b m v", "y")], {
        "s": weights(1), "b": weights(1, seed=1), "m": weights(1, seed=2), "v": np.ones(1, np.float32)}),
    "padding upper": ([node("Conv", "x w", "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")], {"w": weights(3, 1, 3, 3)}),
    "average pool": ([node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)], {}),
    "max pool behind": ([node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])], {}),
    "global mean": ([node("GlobalAveragePool", "x", "y")], {}),
    "reduce": ([node("ReduceMean", "x", "y", axes=[3], keepdims=1)], {}),
    "leaky": ([node("LeakyRelu", "x", "y", alpha=0.2)], {}),
    "hard sigmoid": ([node("HardSigmoid", "x", "y")], {}),
    "atan": ([node("Atan", "x", "y")], {}),
    "selu": ([node("Selu", "x", "y")], {}),
    "prelu": ([node("PRelu", "x s", "y")], {"s": weights(1, 1, 1)}),
    "divide": ([node("Div", "x c", "y")], {"c": np.array(3, np.float32)}),
    "reverse": ([node("Sub", "c x", "y")], {"c": np.array(3, np.float32)}),
    "gate": ([node("Sigmoid", "x", "s"), node("Mul", "x s", "y")], {}),
    "concat": ([node("Relu", "x", "r"), node("Concat", "x r", "y", axis=1)], {}),
    "transpose": ([node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Relu", "t", "y")], {}),
    "pad": ([node("Pad", "x p", "y", mode="reflect")], {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64)}),
    "slice": ([node("Slice", "x a b c d", "y")], {
        "a": np.array([1, 7]), "b": np.array([100, -100]), "c": np.array([2, 3]), "d": np.array([2, -1])}),
    "resize": ([node("Resize", "x  s", "y", mode="linear", coordinate_transformation_mode="half_pixel")], {
        "s": np.array([1, 1, 2, 2], np.float32)}),
    "upsample": ([node("Resize", "x  s", "y", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")], {
        "s": np.array([1, 1, 2, 3], np.float32)}),
    "computed shape": ([
        node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "to", axis=0), node("Reshape", "x to", "y")], {
        "zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}),
    "space to depth": ([node("SpaceToDepth", "x", "s", blocksize=2), node("DepthToSpace", "s", "y", blocksize=2)], {}),
    "softmax": ([node("Flatten", "x", "f"), node("Softmax", "f", "y")], {}),
    "length": ([
        node("Flatten", "x", "f"), node("ReduceL2", "f", "l", axes=[1]), node("Clip", "l low", "c"), node("Shape", "f", "s"),
        node("Expand", "c s", "e"), node("Div", "f e", "y")], {"low": np.array(1e-12, np.float32)}),
    "choice": ([
        node("Greater", "x zero", "g"), node("Exp", "x", "e"), node("Where", "g x e", "y")], {"zero": np.array(0, np.float32)}),
    "tile": ([node("Tile", "x r", "y")], {"r": np.array([1, 3, 2, 1])}),
    "channels last": ([
        node("Conv", "x w", "c", kernel_shape=[3, 3]), node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
        node("ReduceMax", "t", "y", axes=[1, 2], keepdims=0)], {"w": weights(4, 1, 3, 3)}),
    "uneven transposed": ([
        node("ConvTranspose", "x w", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])], {"w": weights(1, 3, 3, 3)}),
    "shapes": ([
        node("Shape", "x", "s"), node("Gather", "s axes", "n"), node("ReduceProd", "n", "p", axes=[0], keepdims=0),
        node("Unsqueeze", "p zero", "p1"), node("Concat", "minus p1", "w", axis=0), node("Reshape", "x w", "y")], {
        "axes": np.array([1, 2, 3]), "zero": np.array([0]), "minus": np.array([-1])}),
    "weights of 8 bits": ([
        node("DequantizeLinear", "w s", "d", axis=0), node("Conv", "x d", "y", kernel_shape=[3, 3])], {
        "w": np.arange(-9, 9, dtype=np.int8).reshape(2, 1, 3, 3), "s": np.array([0.1, 0.2], np.float32)}),
    "matmul": ([node("Flatten", "x", "f"), node("MatMul", "f w", "m"), node("Add", "m b", "y")], {
        "w": weights(64, 3), "b": weights(3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators_of_float_onnx_models(name: str) -> None:
    nodes, constants = CASES[name]
    content = onnx_model(nodes, constants, (1, 8, 8), [])
    made = parsed(content)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    content = made.SerializeToString()
    np.testing.assert_allclose(outputs(module_of(content), X), run_onnx(content, X), atol=2e-5)


@pytest.mark.parametrize(
    ("operator", "inputs"), [("Add", "l c"), ("Max", "c l"), ("Clip", "l c"), ("Clip", "l  c")]
)
def test_a_length_that_a_constant_changes_is_refused(operator: str, inputs: str) -> None:
    """Such a division is no normalization to length 1."""
    nodes = [
        node("Flatten", "x", "f"),
        node("ReduceL2", "f", "l", axes=[1]),
        node(operator, inputs, "b"),
        node("Div", "f b", "y"),
    ]
    content = onnx_model(nodes, {"c": np.array(2, np.float32)}, (1, 8, 8), ("n", 64))
    with pytest.raises(Unsupported, match=r"the length of a tensor with 2; with an epsilon of 0 to 0\.0001"):
        read_model(Source("m.onnx", content))


@pytest.mark.parametrize(("unsigned", "per_channel"), [(False, True), (True, False), (False, False)])
def test_a_model_quantized_by_onnxruntime_is_equal_in_every_byte(
    unsigned: bool, per_channel: bool, tmp_path: Path
) -> None:
    content = quantized_onnx(small_cnn(), X, unsigned=unsigned, per_channel=per_channel, folder=tmp_path)
    source = Source("int8.onnx", content)
    model = read_model(source)
    assert model.network is not None and model.title == "ONNX, int8"
    check = compare_with_file(source, model, X)
    assert not isinstance(check, str), check
    assert check.largest_difference == 0 and check.samples == len(X)
    # The scales are the file's: no calibration happened here.
    scales = {float(value) for tensor in parsed(content).graph.initializer if tensor.name.endswith("_scale")
              for value in np.atleast_1d(__import__("onnx").numpy_helper.to_array(tensor)).reshape(-1)}  # fmt: skip
    assert {info.scale for info in model.network.tensors.values()} <= scales


def test_the_c_of_an_int8_file_is_equal_in_every_byte(tmp_path: Path) -> None:
    from sparsemod.export import export

    content = quantized_onnx(small_cnn(), X, unsigned=False, per_channel=True, folder=tmp_path)
    network = read_model(Source("int8.onnx", content)).network
    assert network is not None
    report = export("c", network, tmp_path / "c", samples=X)
    assert report.verifications[0].exact


def test_a_float_tflite_model_computes_what_its_runtime_computes() -> None:
    from ai_edge_litert.interpreter import Interpreter

    content = float_tflite()
    found = read_model(Source("m.tflite", content))
    assert found.shape == (1, 8, 8) and found.channels_last and found.module is not None
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    expected = []
    for image in X:
        interpreter.set_tensor(given["index"], image.transpose(1, 2, 0)[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(made["index"])[0])
    np.testing.assert_allclose(outputs(found.module, X), np.stack(expected), atol=1e-5)


def test_all_unsupported_operators_are_named_at_once() -> None:
    nodes = [
        node("Conv", "x w", "c", kernel_shape=[3, 3]),
        node("Einsum", "c", "e", equation="abcd->abcd"),
        node("Relu", "e", "r"),
        node("NonZero", "r", "nz"),
        node("Loop", "nz", "y"),
    ]
    with pytest.raises(Unsupported) as caught:
        module_of(onnx_model(nodes, {"w": weights(2, 1, 3, 3)}, (1, 8, 8)), "speech.onnx")
    words = str(caught.value)
    assert words.startswith("reading speech.onnx does not support operator 'Einsum' at layer 'e'")
    assert "'NonZero' at layer 'nz'" in words and "'Loop' at layer 'y'" in words and "Relu" not in words


def test_a_module_of_python_code_needs_a_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sparsemod.importing import READERS

    (tmp_path / "own_model.py").write_text(
        "from torch import nn\nnet = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\ndef made():\n    return net\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    reader = READERS.get("attribute")()
    for name in ("own_model:net", "own_model:made"):
        found = reader.read(Source(name, b""), (1, 8, 8))
        assert found.module is not None and found.shape == (1, 8, 8)
    with pytest.raises(InvalidInput, match="shape of one sample"):
        reader.read(Source("own_model:net", b""))
    with pytest.raises(InvalidInput, match="no 'other'"):
        reader.read(Source("own_model:other", b""), (1, 8, 8))
