"""Forms in which other tools write models: int8 in parts, QOperator, the batch joined with other axes."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from support_models import Array, node, onnx_model, parsed, run_onnx, weights

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export.c.host import host_run
from sparsemod.importing import Imported, Source, read_model
from sparsemod.pipeline.model_report import integer_network
from sparsemod.pipeline.model_runtime import compare_with_file

SCALES = {
    "s": np.float32(0.05), "z": np.int8(3), "low": np.int8(-128), "ws": np.float32(0.01), "wz": np.int8(0), "bs": np.float32(0.0005),
}  # fmt: skip


def whole(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def pairs(name: str, zero: str = "z") -> list[Any]:
    """The quantization of a tensor; `NAME_d` is its real value."""
    return [
        node("QuantizeLinear", f"{name} s {zero}", f"{name}_q"),
        node("DequantizeLinear", f"{name}_q s {zero}", f"{name}_d"),
    ]


def content_of(
    nodes: list[Any], constants: dict[str, Array], shape: tuple[int, ...], output: str = "y"
) -> bytes:
    """A model whose batch is 1 in the file."""
    used = {name for one in nodes for name in one.input}
    given = {name: np.asarray(value) for name, value in {**SCALES, **constants}.items() if name in used}
    model = parsed(onnx_model(nodes, given, shape, []))
    model.graph.output[0].name = output
    model.graph.output[0].type.tensor_type.ClearField("shape")
    dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    dimension.ClearField("dim_param")
    dimension.dim_value = 1
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    content: bytes = model.SerializeToString()
    return content


def read(content: bytes) -> Imported:
    return read_model(Source("m.onnx", content))


def both(content: bytes) -> tuple[Array, Array]:
    """Outputs of the module that was read, and of ONNX Runtime, sample by sample."""
    found = read(content)
    assert found.module is not None
    x = np.random.default_rng(1).normal(size=(4, *found.shape)).astype(np.float32)
    with torch.no_grad():
        made = found.module(torch.from_numpy(x)).numpy()
    return made, np.concatenate([run_onnx(content, one[None]) for one in x]).reshape(made.shape)


def convolution(source: str, output: str, weight: str = "w") -> list[Any]:
    return [
        node("DequantizeLinear", f"{weight} ws wz", f"{output}_w"),
        node("Conv", f"{source} {output}_w", output, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]


def in_parts() -> bytes:
    """An int8 convolution, a float PRelu, and another int8 convolution."""
    nodes = [
        *pairs("x"), *convolution("x_d", "c"), *pairs("c"), node("PRelu", "c_d slopes", "p"), node("Sigmoid", "p", "g"),
        node("Mul", "p g", "m"), *pairs("m"), *convolution("m_d", "d", "v"), *pairs("d"),
    ]  # fmt: skip
    constants = {"w": whole(2, 1, 3, 3) // 8, "v": whole(3, 2, 3, 3, seed=1) // 8, "slopes": weights(2, 1, 1)}
    return content_of(nodes, constants, (1, 6, 6), "d_d")


def test_a_model_that_is_int8_in_parts_is_read_as_floats_and_says_so() -> None:
    found = read(in_parts())
    assert found.network is None and found.title == "ONNX, int8 in parts, read as float"
    assert "'prelu' at layer 'p' is not int8 in the file" in found.notes[-1]
    made, expected = both(in_parts())
    assert np.abs(made - expected).max() < 0.2  # a few steps of the file's own rounding
    network, _ = integer_network(found)
    x = network.quantize_input(np.random.default_rng(2).normal(size=(3, 1, 6, 6)).astype(np.float32))
    assert np.array_equal(host_run(network, x), network.run(x))


def test_a_relu_that_a_tool_left_out_is_kept() -> None:
    """ONNX Runtime drops a relu before a quantization whose range begins at 0."""
    nodes = [*pairs("x"), *convolution("x_d", "c"), *pairs("c", "low"), node("Softplus", "c_d", "y")]
    made, expected = both(content_of(nodes, {"w": whole(2, 1, 3, 3)}, (1, 6, 6)))
    assert made.min() >= np.log(2) - 1e-6 and np.abs(made - expected).max() < 0.1


@pytest.mark.parametrize("kind", ["asymmetric", "lowest"])
def test_weights_that_no_layer_has_are_read_as_floats(kind: str) -> None:
    zero = np.int8(5 if kind == "asymmetric" else 0)
    weight = whole(2, 1, 3, 3)
    weight[0, 0, 0, 0] = -128
    content = content_of(
        [*pairs("x"), *convolution("x_d", "c"), *pairs("c")],
        {"w": weight, "wz": zero},
        (1, 6, 6),
        "c_d",
    )
    found = read(content)
    assert found.network is None and "quantize them to -127 to 127, symmetrically" in found.notes[0]
    made, expected = both(content)
    low, high = (
        (limit - int(SCALES["z"])) * SCALES["s"] for limit in (-128, 127)
    )  # where the file saturates
    assert np.abs(np.clip(made, low, high) - expected).max() < 0.2


def test_operators_on_quantized_tensors_keep_the_files_integers() -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearConv", "q s z w ws wz s z b", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("QLinearAdd", ["q", "s", "z", "c", "s", "z", "s", "z"], ["a"], "a", domain="com.microsoft"),
        helper.make_node(
            "QLinearGlobalAveragePool", ["a", "s", "z", "s", "z"], ["p"], "p", domain="com.microsoft", channels_last=0
        ),
        node("Flatten", "p", "f"),
        helper.make_node(
            "QGemm", ["f", "s", "z", "m", "ws", "wz", "n", "s", "z"], ["g"], "g", domain="com.microsoft", transB=1
        ),
        node("DequantizeLinear", "g s z", "y"),
    ]  # fmt: skip
    constants = {
        "w": whole(2, 2, 3, 3) // 8, "b": np.array([7, -9], np.int32), "m": whole(3, 2), "n": np.array([1, 2, 3], np.int32),
    }  # fmt: skip
    content = content_of(nodes, constants, (2, 6, 6))
    found = read(content)
    assert found.network is not None and [layer.kind for layer in found.network.layers] == [
        "conv", "add", "global_avg_pool", "flatten", "linear",
    ]  # fmt: skip
    assert np.array_equal(found.network.layers[0].bias, constants["b"])  # type: ignore[attr-defined]
    check = compare_with_file(Source("m.onnx", content), found)
    assert not isinstance(check, str), check
    assert check.largest_difference <= 1


def test_sixteen_bit_activations_are_read_as_floats() -> None:
    nodes = [*pairs("x", "wide"), *convolution("x_d", "c"), *pairs("c", "cut"), node("Softplus", "c_d", "y")]
    content = content_of(
        nodes,
        {"w": whole(2, 1, 3, 3), "wide": np.uint16(32768), "cut": np.uint16(0), "s": np.float32(0.0005)},
        (1, 6, 6),
    )
    model = parsed(content)
    for one in model.graph.node:
        if one.op_type in ("QuantizeLinear", "DequantizeLinear") and "ws" not in one.input:
            one.domain = "com.microsoft"
    found = read(model.SerializeToString())
    assert found.network is None and any("16-bit activations" in note for note in found.notes)
    made, expected = both(model.SerializeToString())
    assert np.abs(np.minimum(made, expected.max()) - expected).max() < 0.01  # the file saturates


def test_one_constant_for_each_channel_and_the_largest_value_stay_int8() -> None:
    nodes = [
        *pairs("x"), node("DequantizeLinear", "k ws wz", "kd"), node("Mul", "x_d kd", "m"), *pairs("m"),
        node("DequantizeLinear", "j s wz", "jd"), node("Sub", "jd m_d", "a"), *pairs("a"),
        node("ReduceMax", "a_d", "r", axes=[2, 3], keepdims=0), *pairs("r"), node("Mul", "r_d kv", "v"), *pairs("v"),
    ]  # fmt: skip
    constants = {
        "k": whole(3, 1, 1),
        "j": whole(1, 3, 1, 1, seed=2) // 4,
        "kv": np.array([0.5, -1, 2], np.float32),
    }
    content = content_of(nodes, constants, (3, 6, 6), "v_d")
    found = read(content)
    assert found.network is not None, found.notes
    check = compare_with_file(Source("m.onnx", content), found)
    assert not isinstance(check, str), check
    assert check.largest_difference <= 2
    x = found.network.quantize_input(np.random.default_rng(0).normal(size=(3, 3, 6, 6)).astype(np.float32))
    assert np.array_equal(host_run(found.network, x), found.network.run(x))


def test_a_batch_that_is_joined_with_the_steps() -> None:
    """ONNX Runtime's preprocessing makes Gemm of a linear layer on steps."""
    nodes = [
        node("Reshape", "x rows", "r"), node("Gemm", "r w b", "g"), node("Relu", "g", "q"), node("Reshape", "q back", "k"),
        node("ReduceMean", "k", "y", axes=[1], keepdims=0),
    ]  # fmt: skip
    constants = {"rows": np.array([-1, 6]), "back": np.array([1, 10, 4]), "w": weights(6, 4), "b": weights(4)}
    made, expected = both(content_of(nodes, constants, (10, 6)))
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_heads_of_attention_that_are_joined_with_the_batch() -> None:
    """torch exports nn.MultiheadAttention with the steps first: (T, N, C), then (T, N x heads, C / heads)."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("MatMul", "t w", "m"), node("Reshape", "m heads", "h"),
        node("Transpose", "h", "a", perm=[1, 0, 2]), node("Transpose", "h", "b", perm=[1, 2, 0]), node("MatMul", "a b", "scores"),
        node("Softmax", "scores", "p"), node("MatMul", "p a", "o"), node("Transpose", "o", "u", perm=[1, 0, 2]),
        node("Reshape", "u rows", "r"), node("Gemm", "r v", "g"), node("Reshape", "g steps", "e"), node("Add", "e t", "z2"),
        node("Transpose", "z2", "y", perm=[1, 0, 2]),
    ]  # fmt: skip
    constants = {
        "w": weights(6, 6), "v": weights(6, 6, seed=1), "heads": np.array([5, 2, 3]), "rows": np.array([5, 6]),
        "steps": np.array([5, 1, 6]),
    }  # fmt: skip
    made, expected = both(content_of(nodes, constants, (5, 6)))
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_dynamic_quantization_is_refused_with_what_to_do() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s2", "z2"], "dynamic"),
        node("Relu", "q", "y"),
    ]
    with pytest.raises(
        Unsupported, match="dynamic quantization: take the float model, or quantize it statically"
    ):
        read(content_of(nodes, {}, (1, 6, 6)))


def test_a_tiling_takes_no_more_memory_than_a_model_may_have() -> None:
    with pytest.raises(InvalidInput, match="tiling"):
        read(content_of([node("Tile", "x r", "y")], {"r": np.array([1, 1 << 20, 1 << 20, 1])}, (1, 8, 8)))
