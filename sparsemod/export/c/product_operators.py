"""C code of normalizations of groups, of products of matrices, and of constants for each element."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.export.c import text
from sparsemod.export.c.layers import EMITTERS, Array, Context, Emitted, bounds_of, shared
from sparsemod.layouts import TensorLayout
from sparsemod.patterns import in_memory
from sparsemod.quantization.layers.normalizing import GroupNorm, LogSoftmax
from sparsemod.quantization.layers.products import MatMul, Offset


@EMITTERS.register("log_softmax")
def _log_softmax(context: Context, layer: LogSoftmax) -> Emitted:
    channels, rows, columns = context.image(layer.output)
    powers = shared(context, "uint32_t", "powers", layer.powers.astype(np.uint32))
    logarithms = shared(context, "int32_t", "logarithms", layer.logarithms)
    fields = {
        "runs": rows * columns, "size": channels, "powers": powers.name, "logarithms": logarithms.name, "step": layer.step,
        "offset": layer.offset, "multiplier": layer.multiplier,
    }  # fmt: skip
    return Emitted(
        [f"nn_log_softmax(&{context.name}, {{in0}}, {{out}});"], ("nn_log_softmax",), "logarithm of softmax", (powers, logarithms),
        text.struct("nn_log_softmax_layer", context.name, fields),
    )  # fmt: skip


@EMITTERS.register("group_norm")
def _group_norm(context: Context, layer: GroupNorm) -> Emitted:
    channels, rows, columns = context.image(layer.output)
    positions = rows * columns
    arrays = (
        Array("int32_t", f"{context.name}_multiplier", layer.multiplier),
        Array("int32_t", f"{context.name}_bias", layer.offset),
    )
    fields = {
        "runs": 1 if layer.whole else positions, "positions": positions if layer.whole else 1, "channels": channels,
        "groups": layer.groups, "epsilon": f"INT64_C({layer.epsilon})", "multiplier": arrays[0].name, "bias": arrays[1].name,
        "shift": layer.shift, "zero": context.zero(layer.output), "low": layer.low, "high": layer.high,
    }  # fmt: skip
    words = f"normalization of {layer.groups} groups" if layer.groups > 1 else "normalization"
    return Emitted(
        [f"nn_group_norm(&{context.name}, {{in0}}, {{out}});"], ("nn_group_norm",), f"{words}{bounds_of(layer)}", arrays,
        text.struct("nn_group_norm_layer", context.name, fields),
    )  # fmt: skip


def steps(
    index: NDArray[np.int64], shape: tuple[int, ...], layout: TensorLayout
) -> tuple[int, tuple[int, ...]] | None:
    """Return (offset, step along each of the three axes) with which C reads the elements `index` of a tensor; None when steps differ."""
    vector = TensorLayout("elements", ("elements",), 0, ())
    places = in_memory(index.reshape(-1), (shape, layout), ((index.size,), vector)).reshape(index.shape)
    found = []
    for axis in range(3):
        along = np.diff(places, axis=axis)
        if along.size and (along != along.reshape(-1)[0]).any():
            return None
        found.append(int(along.reshape(-1)[0]) if along.size else 0)
    return int(places[0, 0, 0]), tuple(found)


@EMITTERS.register("matmul")
def _matmul(context: Context, layer: MatMul) -> Emitted:
    sides: list[Any] = []
    for name, tensor in zip(("first", "second"), layer.inputs, strict=True):
        found = steps(layer.index(name), context.shape(tensor), context.network.named.layout(tensor))
        if found is None:
            raise InvalidInput(
                f"layer {layer.name!r}.{name}_strides",
                layer.pattern(name).strides,
                "one step for each axis in C's memory",
            )
        sides.append(found)
    pairs = ["{" + ", ".join(map(str, side[1])) + "}" for side in sides]
    zeros = [context.zero(name) for name in layer.inputs]
    fields = {
        "rows": layer.rows, "products": layer.products, "columns": layer.columns, "inner": layer.inner,
        "offset": f"{{{sides[0][0]}, {sides[1][0]}}}", "step": f"{{{pairs[0]}, {pairs[1]}}}", "multiplier": layer.multiplier,
        "zero_in": f"{{{zeros[0]}, {zeros[1]}}}", "shift": 0 if layer.multiplier == 0 else -2 - layer.shift,
        "zero": context.zero(layer.output),
    }  # fmt: skip
    return Emitted(
        [f"nn_matmul(&{context.name}, {{in0}}, {{in1}}, {{out}});"], ("nn_matmul",),
        f"{layer.products} x {layer.rows} x {layer.inner} times {layer.inner} x {layer.columns}",
        constants=text.struct("nn_matmul_layer", context.name, fields),
    )  # fmt: skip


@EMITTERS.register("offset")
def _offset(context: Context, layer: Offset) -> Emitted:
    info = context.network.tensors[layer.output]
    values = Array("int8_t", f"{context.name}_values", info.to_memory(layer.values[None]).reshape(-1))
    first, second = layer.multipliers
    fields = {
        "size": context.size(layer.output), "multiplier": f"{{{first}, {second}}}",
        "offset": (1 << (layer.shift - 1)) - context.zero(layer.inputs[0]) * first, "shift": layer.shift,
        "zero": context.zero(layer.output), "low": layer.low, "high": layer.high,
    }  # fmt: skip
    return Emitted(
        [f"nn_add(&{context.name}, {{in0}}, {values.name}, {{out}});"], ("nn_add",), f"addition of constants{bounds_of(layer)}", (values,),
        text.struct("nn_add_layer", context.name, fields),
    )  # fmt: skip
