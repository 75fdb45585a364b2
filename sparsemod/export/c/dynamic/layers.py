"""C code of one layer of a dynamically quantized network: its constants and the call of its kernel."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.arena import Layout
from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export.c import text
from sparsemod.export.c.layers import Array, Emitted, geometry, window_text
from sparsemod.graph import Graph, Operator
from sparsemod.kinds import Stage
from sparsemod.layouts import TensorLayout
from sparsemod.quantization.dynamic_network import DynamicNetwork

MOST_TAPS = (2**31 - 1) // (127 * 255)
"""The largest number of taps of a filter whose sum always fits in 32 bits."""


@dataclass(frozen=True)
class DynamicContext:
    """The context of a layer: the network, its memory, and the identifier prefix of the layer's constants."""

    network: DynamicNetwork
    layout: Layout
    name: str

    @property
    def graph(self) -> Graph:
        """The network's graph."""
        return self.network.graph

    def image(self, tensor: str) -> tuple[int, int, int]:
        """Return a tensor's shape for the kernels: (channels, rows, columns)."""
        return self.graph.image(tensor)

    def size(self, tensor: str) -> int:
        """Return the number of a tensor's elements."""
        return self.graph.elements(tensor)

    def floats(self, word: str, values: Any) -> Array:
        """Return a constant float array of this layer."""
        return Array("float", f"{self.name}_{word}", np.asarray(values, np.float32))

    def state(self, key: str) -> NDArray[np.float32]:
        """Return an entry of the graph's state."""
        return np.asarray(self.graph.state[key].float().numpy())


Rule = Callable[[DynamicContext, Operator], Emitted]

DYNAMIC_EMITTERS: Stage[Rule] = Stage(
    "the C export of dynamically quantized networks",
    builtin=("sparsemod.export.c.dynamic @DYNAMIC_EMITTERS",),
)
"""Rules by kind: (context, operator) -> the operator's C code."""


def emit(context: DynamicContext, operator: Operator) -> Emitted:
    """Return the C code of one operator. Raises Unsupported, and InvalidInput for a size beyond the kernels' fields."""
    return DYNAMIC_EMITTERS.rule(operator.kind, operator.name)(context, operator)


def activation(operator: Operator) -> str:
    """Return the constant of a fused activation."""
    return {None: "ND_NONE", "relu": "ND_RELU", "relu6": "ND_RELU6"}[operator.attributes.get("activation")]


def words_of(operator: Operator) -> str:
    """Return the words for a fused activation."""
    fused = operator.attributes.get("activation")
    return f", {fused}" if fused else ""


def in_memory_order(values: NDArray[Any], layout: TensorLayout) -> NDArray[Any]:
    """Return a tensor's values in the order of C's memory."""
    return np.ascontiguousarray(values.transpose(layout.memory)).reshape(-1)


def _filters(
    context: DynamicContext, operator: Operator, weight: NDArray[Any]
) -> tuple[tuple[Array, ...], str]:
    """Return (arrays, initializer of nd_filters) of weights in the kernel's order, as (outputs, taps)."""
    network, outputs = context.network, context.image(operator.output)[0]
    taps = weight.size // outputs
    if taps > MOST_TAPS:
        raise InvalidInput(f"layer {operator.name!r}.taps", taps, f"at most {MOST_TAPS}: sums have 32 bits")
    arrays = (
        Array("int8_t", f"{context.name}_weights", weight),
        context.floats("scale", network.weights[str(operator.weight)][1].numpy()),
        context.floats("bias", network.bias(operator, operator.bias).numpy()),
    )
    measured = "{0.0f, 0}"
    if operator.name in network.ranges:
        scale, zero = (
            float(each[0]) for each in network.scale(operator, context.graph.state[str(operator.weight)])
        )
        measured = f"{{{text.real(scale)}, {int(zero)}}}"
    weights, scales, biases = (array.name for array in arrays)
    initializer = (
        f"{{\n        .weights = {weights}, .scale = {scales}, .bias = {biases},\n"
        f"        .taps = {taps}, .outputs = {outputs}, .measured = {measured}, .activation = {activation(operator)},\n    }}"
    )
    return arrays, initializer


@DYNAMIC_EMITTERS.register("conv")
def _conv(context: DynamicContext, operator: Operator) -> Emitted:
    weight = context.network.weights[str(operator.weight)][0].numpy()
    source, made, window = context.image(operator.inputs[0]), context.image(operator.output), operator.window
    filters = weight.reshape(len(weight), -1, *window.kernel)
    kind = window.conv_kernel(source[0], made[0])
    order = filters[:, 0].transpose(1, 2, 0) if kind == "depthwise" else filters.transpose(0, 2, 3, 1)
    arrays, initializer = _filters(context, operator, np.ascontiguousarray(order).reshape(-1))
    fields = {
        "filters": initializer, "window": window_text(operator.name, window, source, made), "groups": window.groups,
        "direct": int(kind == "conv_1x1"),
    }  # fmt: skip
    kernel = "nd_depthwise" if kind == "depthwise" else "nd_conv"
    size = f"{'depthwise ' if kind == 'depthwise' else ''}conv {window.kernel[0]} x {window.kernel[1]}"
    groups = f", {window.groups} groups" if window.groups > 1 and kind != "depthwise" else ""
    used = (
        ("nd_quantize", "nd_range_of") if kind == "depthwise" else ("nd_apply", "nd_quantize", "nd_range_of")
    )
    return Emitted(
        [f"{kernel}(&{context.name}, {{in0}}, {{out}}, {{scratch}});"], (kernel, *used),
        f"{size}{geometry(window)}{groups}{words_of(operator)}", arrays, text.struct("nd_conv_layer", context.name, fields), "dense",
    )  # fmt: skip


@DYNAMIC_EMITTERS.register("linear")
def _linear(context: DynamicContext, operator: Operator) -> Emitted:
    weight = context.network.weights[str(operator.weight)][0].numpy()
    order = context.layout.order_of.get(operator.inputs[0])
    if order is not None:
        # The vector is a tensor (C, H, W) stored channels last.
        weight = np.ascontiguousarray(weight.reshape(-1, *order).transpose(0, 2, 3, 1)).reshape(weight.shape)
    arrays, initializer = _filters(context, operator, weight)
    inner = initializer.replace("\n        ", "\n    ").replace("\n    }", "\n}")
    note = "" if order is None else "/* Columns permuted: its input lies channels last. */\n"
    return Emitted(
        [f"nd_linear(&{context.name}, {{in0}}, {{out}}, {{scratch}});"],
        ("nd_linear", "nd_apply", "nd_quantize", "nd_range_of"), f"linear{words_of(operator)}", arrays,
        f"{note}static const nd_filters {context.name} = {inner};\n", "dense",
    )  # fmt: skip


@DYNAMIC_EMITTERS.rules("max_pool", "avg_pool")
def _pool(context: DynamicContext, operator: Operator) -> Emitted:
    window = operator.window
    shapes = context.image(operator.inputs[0]), context.image(operator.output)
    fields: dict[str, Any] = {"window": window_text(operator.name, window, *shapes)}
    if operator.kind == "avg_pool":
        counted = int(bool(operator.attributes["count_include_pad"]))
        fields |= {"pad_bottom": window.padding[1], "pad_right": window.padding[3], "count_padding": counted}
    word = "max pooling" if operator.kind == "max_pool" else "average pooling"
    return Emitted(
        [f"nd_{operator.kind}(&{context.name}, {{in0}}, {{out}});"], (f"nd_{operator.kind}",),
        f"{word} {window.kernel[0]} x {window.kernel[1]}{geometry(window)}",
        constants=text.struct("nd_pool_layer", context.name, fields),
    )  # fmt: skip


@DYNAMIC_EMITTERS.register("global_avg_pool")
def _mean(context: DynamicContext, operator: Operator) -> Emitted:
    channels, rows, columns = context.image(operator.inputs[0])
    call = f"nd_mean({rows * columns}, {channels}, {{in0}}, {{out}});"
    return Emitted([call], ("nd_mean",), "mean over all positions")


@DYNAMIC_EMITTERS.rules("relu", "relu6")
def _clip(context: DynamicContext, operator: Operator) -> Emitted:
    call = f"nd_clamp({context.size(operator.output)}, ND_{operator.kind.upper()}, {{in0}}, {{out}});"
    return Emitted([call], ("nd_clamp",), operator.kind)


@DYNAMIC_EMITTERS.rules("add", "sum", "subtract", "multiply", "maximum", "minimum")
def _pair(context: DynamicContext, operator: Operator) -> Emitted:
    operations = {
        "add": "ND_SUM", "sum": "ND_SUM", "subtract": "ND_DIFFERENCE", "multiply": "ND_PRODUCT", "maximum": "ND_LARGER",
        "minimum": "ND_SMALLER",
    }  # fmt: skip
    channels, rows, columns = context.image(operator.output)
    steps = []
    for name in operator.inputs:
        depth, height, width = context.image(name)
        by_axis = (width * depth if height > 1 else 0, depth if width > 1 else 0, 1 if depth > 1 else 0)
        steps.append("{" + ", ".join(map(str, by_axis)) + "}")
    fields = {
        "rows": rows, "columns": columns, "channels": channels, "step": "{" + ", ".join(steps) + "}",
        "operation": operations[operator.kind], "activation": activation(operator),
    }  # fmt: skip
    return Emitted(
        [f"nd_combine(&{context.name}, {{in0}}, {{in1}}, {{out}});"], ("nd_combine",),
        f"{operator.traits.title}{words_of(operator)}", constants=text.struct("nd_pair_layer", context.name, fields),
    )  # fmt: skip


@DYNAMIC_EMITTERS.register("offset")
def _offset(context: DynamicContext, operator: Operator) -> Emitted:
    held = context.state(str(operator.weight))
    layout = context.graph.layout(operator.output)
    constants = context.floats(
        "constants", in_memory_order(held.reshape(context.graph.shapes[operator.output]), layout)
    )
    call = f"nd_offset({held.size}, {activation(operator)}, {constants.name}, {{in0}}, {{out}});"
    return Emitted([call], ("nd_offset",), f"constants added{words_of(operator)}", (constants,))


@DYNAMIC_EMITTERS.register("prelu")
def _prelu(context: DynamicContext, operator: Operator) -> Emitted:
    channels, rows, columns = context.image(operator.output)
    slopes = context.floats("slopes", context.state(str(operator.weight)).reshape(-1))
    call = f"nd_prelu({rows * columns}, {channels}, {slopes.name}, {{in0}}, {{out}});"
    return Emitted([call], ("nd_prelu",), "leaky activation of each channel", (slopes,))


@DYNAMIC_EMITTERS.register("concat")
def _concat(context: DynamicContext, operator: Operator) -> Emitted:
    axes = context.graph.layout(operator.output).memory
    position = axes.index(operator.attributes["axis"])

    def sizes(tensor: str) -> list[int]:
        return [context.graph.shapes[tensor][axis] for axis in axes]

    stride, start, calls = math.prod(sizes(operator.output)[position:]), 0, []
    for index, tensor in enumerate(operator.inputs):
        rows, run = math.prod(sizes(tensor)[:position]), math.prod(sizes(tensor)[position:])
        target = "{out}" if start == 0 else f"{{out}} + {start}"
        calls.append(f"nd_copy_part({rows}, {run}, {stride}, {{in{index}}}, {target});")
        start += run
    return Emitted(calls, ("nd_copy_part",), f"concatenation of {len(operator.inputs)}")


@DYNAMIC_EMITTERS.register("transpose")
def _transpose(context: DynamicContext, operator: Operator) -> Emitted:
    """Emit no code: sequences of both layouts have the same order in memory."""
    return Emitted([], (), "transpose")


def unsupported(operator: Operator, hint: str) -> Unsupported:
    """Return the error for an operator that has a rule but cannot be expressed."""
    return Unsupported(operator.kind, operator.name, DYNAMIC_EMITTERS.title, hint=hint)
