"""ONNX nodes of normalizations of groups, of products of matrices, and of constants for each element."""

import numpy as np

from sparsemod.export.onnx.layers import RULES, OnnxGraph
from sparsemod.quantization.layers.normalizing import GroupNorm, LogSoftmax
from sparsemod.quantization.layers.products import MatMul, Offset


@RULES.register("log_softmax")
def _log_softmax(graph: OnnxGraph, layer: LogSoftmax) -> str:
    return graph.node("LogSoftmax", [graph.real(layer.inputs[0])], f"{layer.output}/r", axis=layer.axis + 1)


@RULES.register("group_norm")
def _group_norm(graph: OnnxGraph, layer: GroupNorm) -> str:
    """Add mean, variance and quotient of each group, along axes of their own, then weight and bias of each channel."""
    name, info = layer.output, graph.network.tensors[layer.inputs[0]]
    shape, axis = info.shape, layer.axis
    split = (*shape[:axis], layer.groups, shape[axis] // layer.groups, *shape[axis + 1 :])
    axes = [axis + 2]
    if layer.whole:
        axes += [i + 1 for i in range(len(split)) if i not in (axis, axis + 1)]
    wanted = graph.constant(f"{name}/split_shape", np.array([-1, *split], np.int64))
    x = graph.node("Reshape", [graph.real(layer.inputs[0]), wanted], f"{name}/split")
    along = graph.constant(f"{name}/axes", np.array(sorted(axes), np.int64))
    mean = graph.node("ReduceMean", [x, along], f"{name}/mean", keepdims=1)
    centred = graph.node("Sub", [x, mean], f"{name}/centred")
    square = graph.node("Mul", [centred, centred], f"{name}/square")
    variance = graph.node("ReduceMean", [square, along], f"{name}/variance", keepdims=1)
    small = graph.constant(f"{name}/epsilon", np.float32(layer.real_epsilon(shape, info.scale)))
    root = graph.node("Sqrt", [graph.node("Add", [variance, small], f"{name}/padded")], f"{name}/deviation")
    back = graph.constant(f"{name}/shape", np.array([-1, *shape], np.int64))
    normal = graph.node(
        "Reshape", [graph.node("Div", [centred, root], f"{name}/normal"), back], f"{name}/flat"
    )
    weight, bias = layer.real_affine(graph.network.tensors[name].scale)
    sizes = [-1 if i == axis else 1 for i in range(len(shape))]
    scaled = graph.node(
        "Mul", [normal, graph.constant(f"{name}/weight", weight.reshape(sizes))], f"{name}/scaled"
    )
    return graph.node("Add", [scaled, graph.constant(f"{name}/bias", bias.reshape(sizes))], f"{name}/r")


@RULES.register("matmul")
def _matmul(graph: OnnxGraph, layer: MatMul) -> str:
    name, sides = layer.output, []
    for word, tensor, order in zip(("first", "second"), layer.inputs, ((0, 1, 2), (0, 2, 1)), strict=True):
        index = layer.index(word).transpose(order)
        count = graph.network.tensors[tensor].elements
        whole = graph.constant(f"{name}/{word}_count", np.array([-1, count], np.int64))
        flat = graph.node("Reshape", [f"{tensor}/q", whole], f"{name}/{word}_flat")
        numbers = graph.constant(f"{name}/{word}_elements", np.ascontiguousarray(index))
        chosen = graph.node("Gather", [flat, numbers], f"{name}/{word}", axis=1)
        sides.append(graph.node("DequantizeLinear", [chosen, *graph.scale(tensor)], f"{name}/{word}_f"))
    product = graph.node("MatMul", sides, f"{name}/product")
    if layer.factor != 1.0:
        product = graph.node(
            "Mul", [product, graph.constant(f"{name}/factor", np.float32(layer.factor))], f"{name}/scaled"
        )
    turned = graph.node("Transpose", [product], f"{name}/turned", perm=[0, 2, 1, 3])
    shape = graph.constant(f"{name}/shape", np.array([-1, *graph.network.tensors[name].shape], np.int64))
    return graph.node("Reshape", [turned, shape], f"{name}/r")


@RULES.register("offset")
def _offset(graph: OnnxGraph, layer: Offset) -> str:
    name = layer.output
    scale = [
        graph.constant(f"{name}/values_scale", np.float32(layer.values_scale)),
        graph.constant(f"{name}/values_zero", np.int8(0)),
    ]
    values = graph.node(
        "DequantizeLinear", [graph.constant(f"{name}/values_q", layer.values), *scale], f"{name}/values"
    )
    return graph.node("Add", [graph.real(layer.inputs[0]), values], f"{name}/r")
