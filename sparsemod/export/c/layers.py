"""C code of one layer of the integer network: its constants and the call of its kernel."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.arena import Layout
from sparsemod.errors import InvalidInput
from sparsemod.export.c import text
from sparsemod.export.c.encoding import Encoded, encode
from sparsemod.export.c.special import Plain, Special, special
from sparsemod.files import fingerprint
from sparsemod.kinds import Stage
from sparsemod.kinds.windows import Window
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import (
    AvgPool,
    Clamp,
    Clamped,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Pool,
    Weighted,
)


@dataclass(frozen=True)
class Array:
    """A constant array with elements of type `kind` and the identifier `name`; `shared`: other layers may have the same one."""

    kind: str
    name: str
    values: NDArray[Any]
    shared: bool = False

    @property
    def bytes(self) -> int:
        """Its bytes in flash."""
        return int(self.values.size) * (
            4 if self.kind == "float" else int("".join(filter(str.isdecimal, self.kind))) // 8
        )


@dataclass(frozen=True)
class CLayer:
    """A layer of the project:
    `index` in execution order (the argument of `nn_profile`), the layer's `name` in the network, the `kernels` that it calls, its
    `encoding` ("" without weights), the bytes of its weights, biases and scales, whether it has a kernel of its own (`special`), and
    else why it runs the plain one (`plain`; "" where the core has no such kernels). `fused`: the last layer of those that run together with
    it, "" for a layer on its own; `nn_profile` is called after the last one."""

    index: int
    name: str
    identifier: str
    title: str
    kernels: tuple[str, ...]
    encoding: str
    data_bytes: int
    special: bool = False
    plain: str = ""
    fused: str = ""


@dataclass
class Emitted:
    """The C code of a layer:
    `arrays`; `constants`: the text of the structs that point to the arrays; `calls` with the placeholders {in0}, {in1}, {out} and
    {scratch}; and the kernels' names.

    `own_kernels`: C files, by name, of kernels from other packages, which include "kernels/nn.h"; `constants` declares them.
    `special`: the code on cores for which the layer has a kernel of its own; `plain`: why it has none.
    """

    calls: list[str]
    kernels: tuple[str, ...]
    title: str
    arrays: tuple[Array, ...] = ()
    constants: str = ""
    encoding: str = ""
    own_kernels: Mapping[str, str] = field(default_factory=dict)
    special: Special | None = None
    plain: str = ""

    @property
    def data_bytes(self) -> int:
        """Bytes of the arrays in flash: weights, biases, scales, tables and lists; with a kernel of its own those that it reads."""
        return sum(array.bytes for array in (self.special.arrays if self.special else self.arrays))


@dataclass(frozen=True)
class Context:
    """The context of a layer: the network, its memory, the identifier prefix of the layer's constants, and the encodings of weights.

    `arrays`: the prefix of its arrays, when another form of the network has the same ones. `core`: the core for which layers may have
    kernels of their own; "" for none. `images`: the images of tensors of which the layer reads or makes some rows at a time.
    """

    network: IntegerNetwork
    layout: Layout
    name: str
    encodings: Mapping[str, str]
    arrays: str = ""
    core: str = ""
    images: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def array_name(self) -> str:
        """The prefix of the layer's arrays."""
        return self.arrays or self.name

    def zero(self, tensor: str) -> int:
        """Return a tensor's zero point."""
        return self.network.tensors[tensor].zero_point

    def image(self, tensor: str) -> tuple[int, int, int]:
        """Return a tensor's shape for the kernels: (channels, rows, columns)."""
        return self.images.get(tensor) or self.network.named.image(tensor)

    def size(self, tensor: str) -> int:
        """Return the number of a tensor's elements."""
        return math.prod(self.image(tensor))

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return a tensor's shape, channels first."""
        return self.network.tensors[tensor].shape

    def in_memory(self, layer: Linear) -> NDArray[np.int8]:
        """Return the weights (outputs, taps) in the order of the input's bytes."""
        order = self.layout.order_of.get(layer.inputs[0])
        if order is None:
            return layer.weight
        # The vector is a tensor (C, H, W) stored channels last.
        permuted = layer.weight.reshape(-1, *order).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(permuted).reshape(layer.weight.shape)


Rule = Callable[[Context, Any], Emitted]

EMITTERS: Stage[Rule] = Stage("the c export", builtin=("sparsemod.export.c @EMITTERS",))
"""Rules by kind: (context, layer) -> the layer's C code."""


def emit(context: Context, layer: Layer) -> Emitted:
    """Return the C code of one layer. Raises InvalidInput when a size does not fit in the kernels' 16-bit fields."""
    code = EMITTERS.rule(layer.kind, layer.name)(context, layer)
    if context.core:
        found = special(context, layer)
        code.special = found if isinstance(found, Special) else None
        code.plain = found.reason if isinstance(found, Plain) else ""
    return code


def _filters(context: Context, layer: Weighted, encoded: Encoded, taps: int) -> tuple[tuple[Array, ...], str]:
    """Return (arrays, initializer of nn_filters)."""
    zero = context.zero(layer.inputs[0])
    sums = layer.weight.astype(np.int64).reshape(len(layer.weight), -1).sum(axis=1)
    bias = layer.bias.astype(np.int64) - zero * sums
    # The kernels start with the high word of the product, and round in the last of 31 - shift right shifts.
    shift = np.where(layer.multiplier == 0, 0, -2 - layer.shift.astype(np.int64))
    name = context.array_name
    # C has no empty arrays: a layer whose weights are all zero has no weight array.
    arrays = [Array("int8_t", f"{name}_weights", encoded.weights)] if encoded.weights.size else []
    stored = f"{name}_weights" if encoded.weights.size else "0"
    if encoded.index is not None:
        arrays.append(Array("uint8_t", f"{name}_{encoded.name}", encoded.index))
    arrays += [
        Array("int32_t", f"{name}_bias", bias),
        Array("int32_t", f"{name}_multiplier", layer.multiplier),
        Array("int8_t", f"{name}_shift", shift),
    ]
    index = "" if encoded.index is None else f".index = {name}_{encoded.name}, "
    apply = "" if encoded.kernel == "nn_depthwise" else f"        .apply = {encoded.kernel},\n"
    initializer = (
        f"{{\n{apply}"
        f"        .weights = {stored}, {index}.bias = {name}_bias,\n"
        f"        .multiplier = {name}_multiplier, .shift = {name}_shift,\n"
        f"        .taps = {taps}, .outputs = {len(layer.weight)},\n"
        f"        .zero = {context.zero(layer.output)}, .low = {layer.low}, .high = {layer.high},\n"
        "    }"
    )
    return tuple(arrays), initializer


def _window(context: Context, layer: Conv | Pool, kernel: tuple[int, int]) -> str:
    window = Window(kernel, layer.stride, layer.padding, layer.dilation)
    return window_text(layer.name, window, context.image(layer.inputs[0]), context.image(layer.output))


def window_text(layer: str, window: Window, source: tuple[int, int, int], made: tuple[int, int, int]) -> str:
    """Return the initializer of nn_window for images (channels, rows, columns).

    Raises InvalidInput for sizes beyond 16 bits."""
    lines: list[dict[str, int]] = [
        {"in_rows": source[1], "in_columns": source[2], "channels": source[0]},
        {"out_rows": made[1], "out_columns": made[2]},
        {"kernel_rows": window.kernel[0], "kernel_columns": window.kernel[1]},
        {"stride_rows": window.stride[0], "stride_columns": window.stride[1]},
        {"dilation_rows": window.dilation[0], "dilation_columns": window.dilation[1]},
        {"pad_top": window.padding[0], "pad_left": window.padding[2]},
    ]
    for key, value in (item for line in lines for item in line.items()):
        if value > 0xFFFF:
            raise InvalidInput(f"layer {layer!r}.{key}", value, "at most 65535 in the C export")
    fields = (", ".join(f".{key} = {value}" for key, value in line.items()) for line in lines)
    body = "".join(f"        {line},\n" for line in fields)
    return "{\n" + body + "    }"


@EMITTERS.register("conv")
def _conv(context: Context, layer: Conv) -> Emitted:
    channels, outputs = context.image(layer.inputs[0])[0], len(layer.weight)
    kernel = layer.window.kernel
    size = f"{kernel[0]} x {kernel[1]}"
    taps = math.prod(layer.weight.shape[1:])
    kernel_kind = layer.window.conv_kernel(channels, outputs)
    if kernel_kind == "depthwise":
        # [tap][channel]
        flat = np.ascontiguousarray(layer.weight[:, 0].transpose(1, 2, 0)).reshape(-1)
        encoded = Encoded("dense", "nn_depthwise", flat, None)
        scratch, title = "", "depthwise conv"
    else:
        rows = layer.weight.transpose(0, 2, 3, 1).reshape(outputs, taps)
        encoded = encode(rows, context.encodings.get(layer.name, "dense"), layer.groups)
        scratch, title = "" if kernel_kind == "conv_1x1" else ", {scratch}", "conv"
    kernel_name = f"nn_{kernel_kind}"
    arrays, filters = _filters(context, layer, encoded, taps)
    fields = {
        "filters": filters,
        "window": _window(context, layer, kernel),
        "groups": layer.groups,
        "zero_in": context.zero(layer.inputs[0]),
    }
    return Emitted(
        [f"{kernel_name}(&{context.name}, {{in0}}, {{out}}{scratch});"],
        tuple(dict.fromkeys((kernel_name, encoded.kernel))),
        f"{title} {size}{geometry(layer)}{_groups(layer, title)}{bounds_of(layer)}",
        arrays,
        text.struct("nn_conv_layer", context.name, fields),
        encoded.name,
    )


def geometry(layer: Conv | Pool | Window) -> str:
    """Return the words for stride, padding and dilation, "" for the usual ones."""
    words = ""
    if layer.stride != (1, 1):
        words += f", stride {layer.stride[0]} x {layer.stride[1]}"
    if any(layer.padding):
        top, bottom, left, right = layer.padding
        same = top == bottom == left == right
        words += (
            f", padding {top}"
            if same
            else f", padding {top} above, {bottom} below, {left} left, {right} right"
        )
    if layer.dilation != (1, 1):
        words += f", dilation {layer.dilation[0]} x {layer.dilation[1]}"
    return words


def _groups(layer: Conv, title: str) -> str:
    return f", {layer.groups} groups" if layer.groups > 1 and title == "conv" else ""


def bounds_of(layer: Clamped) -> str:
    """Return the words for a layer's bounds, "" for none."""
    if (layer.low, layer.high) == (-128, 127):
        return ""
    return f", clamped to {layer.low}..{layer.high}"


@EMITTERS.register("linear")
def _linear(context: Context, layer: Linear) -> Emitted:
    weight = context.in_memory(layer)
    encoded = encode(weight, context.encodings.get(layer.name, "dense"))
    arrays, filters = _filters(context, layer, encoded, weight.shape[1])
    inner = filters.replace("\n        ", "\n    ").replace("\n    }", "\n}")
    note = "" if weight is layer.weight else "/* Columns permuted: its input lies channels last. */\n"
    return Emitted(
        [f"nn_linear(&{context.name}, {{in0}}, {{out}});"],
        ("nn_linear", encoded.kernel),
        f"linear{bounds_of(layer)}",
        arrays,
        f"{note}static const nn_filters {context.name} = {inner};\n",
        encoded.name,
    )


@EMITTERS.register("max_pool")
def _max_pool(context: Context, layer: MaxPool) -> Emitted:
    return _pool(context, layer, "nn_max_pool", "max pooling", {})


@EMITTERS.register("avg_pool")
def _avg_pool(context: Context, layer: AvgPool) -> Emitted:
    fields = {
        "zero_in": context.zero(layer.inputs[0]),
        "pad_bottom": layer.padding[1],
        "pad_right": layer.padding[3],
        "count_padding": int(layer.count_padding),
    }
    return _pool(context, layer, "nn_avg_pool", "average pooling", fields)


def _pool(context: Context, layer: Pool, kernel: str, word: str, more: dict[str, Any]) -> Emitted:
    fields: dict[str, Any] = {"window": _window(context, layer, layer.kernel), **more}
    return Emitted(
        [f"{kernel}(&{context.name}, {{in0}}, {{out}});"],
        (kernel,),
        f"{word} {layer.kernel[0]} x {layer.kernel[1]}{geometry(layer)}",
        constants=text.struct("nn_pool_layer", context.name, fields),
    )


@EMITTERS.register("global_avg_pool")
def _mean(context: Context, layer: GlobalAvgPool) -> Emitted:
    channels, rows, columns = context.image(layer.inputs[0])
    fields = {
        "positions": rows * columns,
        "channels": channels,
        "offset": -context.zero(layer.inputs[0]) * rows * columns,
        "multiplier": layer.multiplier,
        "shift": 0 if layer.multiplier == 0 else -2 - layer.shift,
        "zero": context.zero(layer.output),
    }
    return Emitted(
        [f"nn_mean(&{context.name}, {{in0}}, {{out}});"],
        ("nn_mean",),
        "mean over all positions",
        constants=text.struct("nn_mean_layer", context.name, fields),
    )


@EMITTERS.register("clamp")
def _clamp(context: Context, layer: Clamp) -> Emitted:
    size = context.size(layer.output)
    call = f"nn_clamp({size}, {layer.low}, {layer.high}, {{in0}}, {{out}});"
    return Emitted([call], ("nn_clamp",), f"activation, {layer.low}..{layer.high}")


@EMITTERS.register("flatten")
def _flatten(context: Context, layer: Flatten) -> Emitted:
    channels, rows, columns = context.image(layer.inputs[0])
    call = f"nn_flatten({rows * columns}, {channels}, {{in0}}, {{out}});"
    return Emitted([call], ("nn_flatten",), "flatten")


@EMITTERS.register("transpose")
def _transpose(context: Context, layer: Layer) -> Emitted:
    """Emit no code: sequences of both layouts have the same bytes in memory."""
    return Emitted([], (), "transpose")


def shared(context: Context, kind: str, word: str, values: Any) -> Array:
    """Return a constant array whose name follows from its content, so that layers with equal arrays share it."""
    digest = fingerprint(values.tobytes())[:8]
    return Array(kind, f"{context.name.partition('__')[0]}__{word}_{digest}", values, shared=True)
