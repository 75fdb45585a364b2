"""ONNX nodes of functions, pairs, copies and normalizations.

Tables and copies are exact: they gather int8 values by number. The others compute with real numbers, like all layers.
"""

import math

import numpy as np

from sparsemod.export.onnx.layers import RULES, OnnxGraph
from sparsemod.patterns import OUTSIDE
from sparsemod.quantization.arithmetic import INT8_MIN
from sparsemod.quantization.layers import Layer
from sparsemod.quantization.layers.functions import Prelu, Table
from sparsemod.quantization.layers.movements import Interpolate, Move, Take
from sparsemod.quantization.layers.normalizing import L2Normalize, Softmax

_PAIRS = {"sum": "Add", "subtract": "Sub", "multiply": "Mul", "maximum": "Max", "minimum": "Min"}


@RULES.register("table")
def _table(graph: OnnxGraph, layer: Table) -> None:
    name = layer.output
    wide = graph.node(
        "Cast", [f"{layer.inputs[0]}/q"], f"{name}/wide", to=graph.tensor_type(np.dtype(np.int32))
    )
    index = graph.node("Add", [wide, graph.constant(f"{name}/middle", np.int32(128))], f"{name}/index")
    graph.node("Gather", [graph.constant(f"{name}/table", layer.table), index], f"{name}/q", axis=0)


@RULES.register("prelu")
def _prelu(graph: OnnxGraph, layer: Prelu) -> str:
    source, made = (graph.network.tensors[name].scale for name in (layer.inputs[0], layer.output))
    slopes = layer.slopes * 2.0**-layer.shift * made / source
    shape = (-1, *(1,) * (len(graph.network.tensors[layer.output].shape) - 1))
    held = graph.constant(f"{layer.output}/slopes", slopes.astype(np.float32).reshape(shape))
    return graph.node("PRelu", [graph.real(layer.inputs[0]), held], f"{layer.output}/r")


@RULES.rules("sum", "subtract", "multiply", "maximum", "minimum")
def _pair(graph: OnnxGraph, layer: Layer) -> str:
    return graph.node(_PAIRS[layer.kind], [graph.real(name) for name in layer.inputs], f"{layer.output}/r")


@RULES.register("move")
def _move(graph: OnnxGraph, layer: Move) -> None:
    _gathered(graph, layer, layer.pattern.index())


@RULES.register("take")
def _take(graph: OnnxGraph, layer: Take) -> None:
    _gathered(graph, layer, taken(layer, graph.network.tensors[layer.inputs[0]].shape))


def taken(layer: Take, given: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the number of the input's element for each element of the output, -1 for the fill; both in the arrays' order."""
    index = np.arange(math.prod(given)).reshape(given)
    outside = np.zeros(given, bool)
    for axis, places in enumerate(layer.places):
        if places:
            chosen = np.array(places)
            index, outside = (np.take(array, np.maximum(chosen, 0), axis) for array in (index, outside))
            np.moveaxis(outside, axis, 0)[chosen == OUTSIDE] = True
    return np.where(outside, OUTSIDE, index).reshape(-1)


def _gathered(graph: OnnxGraph, layer: Layer, index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    name, source = layer.output, graph.network.tensors[layer.inputs[0]]
    count, made = source.elements, graph.network.tensors[name].shape
    flat = graph.node(
        "Reshape", [f"{layer.inputs[0]}/q", graph.constant(f"{name}/flat_shape", np.array([-1, count], np.int64))], f"{name}/flat"
    )  # fmt: skip
    if (index == OUTSIDE).any():
        fill = source.zero_point if isinstance(layer, Take) and layer.fill == "zero" else INT8_MIN
        more = [
            graph.constant(f"{name}/more", np.array([0, 0, 0, 1], np.int64)),
            graph.constant(f"{name}/fill", np.int8(fill)),
        ]
        flat = graph.node("Pad", [flat, *more], f"{name}/filled")
        index = np.where(index == OUTSIDE, count, index)
    numbers = graph.constant(f"{name}/elements", index.astype(np.int64))
    chosen = graph.node("Gather", [flat, numbers], f"{name}/chosen", axis=1)
    shape = graph.constant(f"{name}/shape", np.array([-1, *made], np.int64))
    graph.node("Reshape", [chosen, shape], f"{name}/q")


@RULES.register("interpolate")
def _interpolate(graph: OnnxGraph, layer: Interpolate) -> str:
    given, made = (graph.network.tensors[name].shape for name in (layer.inputs[0], layer.output))
    factors = [1.0, 1.0, *(_factor(size, wanted) for size, wanted in zip(given[1:], made[1:], strict=True))]
    scales = graph.constant(f"{layer.output}/scales", np.array(factors, np.float32))
    mode = "align_corners" if layer.aligned else "half_pixel"
    return graph.node(
        "Resize", [graph.real(layer.inputs[0]), "", scales], f"{layer.output}/r", mode="linear",
        coordinate_transformation_mode=mode,
    )  # fmt: skip


def _factor(size: int, wanted: int) -> float:
    """Return the scale for ONNX, which rounds the number of outputs down: the next larger number where it would round to less."""
    factor = np.float32(wanted / size)
    # Readers compute the product in float32 or in float64.
    while min(np.floor(np.float32(size) * factor), np.floor(size * float(factor))) < wanted:
        factor = np.nextafter(factor, np.float32(np.inf))
    return float(factor)


@RULES.register("softmax")
def _softmax(graph: OnnxGraph, layer: Softmax) -> str:
    return graph.node("Softmax", [graph.real(layer.inputs[0])], f"{layer.output}/r", axis=layer.axis + 1)


@RULES.register("l2_normalize")
def _normalize(graph: OnnxGraph, layer: L2Normalize) -> str:
    return graph.node(
        "LpNormalization", [graph.real(layer.inputs[0])], f"{layer.output}/r", axis=layer.axis + 1, p=2
    )
