"""C code of functions by name, copies in another order, and layers that go through the steps of a sequence."""

from typing import Any

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.export.c import text
from sparsemod.export.c.dynamic.functions import written
from sparsemod.export.c.dynamic.layers import DYNAMIC_EMITTERS, DynamicContext, unsupported
from sparsemod.export.c.dynamic.memory import node
from sparsemod.export.c.layers import Array, Emitted
from sparsemod.export.c.operators import OUTSIDE_PLACE, move_text
from sparsemod.export.c.recurrent import valid_steps
from sparsemod.graph import Operator
from sparsemod.graph.functions import title
from sparsemod.measure.operator_features import image_places
from sparsemod.patterns import Pattern, in_memory, pattern_of
from sparsemod.quantization.dynamic_functions import unknown


@DYNAMIC_EMITTERS.register("table")
def _table(context: DynamicContext, operator: Operator) -> Emitted:
    function = operator.attributes["function"]
    missing = unknown(function)
    if missing:
        raise unsupported(operator, f"the function {missing}; the scheme static computes it by table")
    name = f"{context.name}_function"
    body, kernels = written(function)
    call = f"nd_map({context.size(operator.output)}, {name}, {{in0}}, {{out}});"
    return Emitted(
        [call],
        ("nd_map", *kernels),
        title(function),
        constants=f"static float {name}(float x)\n{{\n{body}}}\n",
    )


@DYNAMIC_EMITTERS.register("move")
def _move(context: DynamicContext, operator: Operator) -> Emitted:
    a = operator.attributes
    return _copied(context, operator, Pattern(tuple(a["sizes"]), tuple(a["strides"]), a["offset"]))


@DYNAMIC_EMITTERS.register("take")
def _take(context: DynamicContext, operator: Operator) -> Emitted:
    depth, _, width = context.image(operator.inputs[0])
    channels, rows, columns = context.image(operator.output)
    by_axis = image_places(context.graph.tensors, node(operator))
    keys, sizes = ("rows", "columns", "channels"), (rows, columns, channels)
    arrays = []
    for key, places, size in zip(keys, by_axis, sizes, strict=True):
        chosen = places or range(size)
        if max(chosen) >= OUTSIDE_PLACE:
            raise InvalidInput(f"layer {operator.name!r}.{key}", max(chosen), "at most 65534 in the C export")
        values = np.array([OUTSIDE_PLACE if place < 0 else place for place in chosen], np.uint16)
        arrays.append(Array("uint16_t", f"{context.name}_{key}", values))
    kept = tuple(arrays if by_axis[2] else arrays[:2])
    fields = {
        "in_columns": width, "in_channels": depth, "out_rows": rows, "out_columns": columns, "out_channels": channels,
        **{array.name.removeprefix(f"{context.name}_"): array.name for array in kept},
    }  # fmt: skip
    fill = "0.0f" if operator.attributes["fill"] == "zero" else "-FLT_MAX"
    return Emitted(
        [f"nd_take(&{context.name}, {fill}, {{in0}}, {{out}});"], ("nd_take",), "chosen rows, columns and channels",
        kept, text.struct("nn_take_layer", context.name, fields),
    )  # fmt: skip


@DYNAMIC_EMITTERS.rules("flatten", "reshape")
def _reshape(context: DynamicContext, operator: Operator) -> Emitted:
    """Copy the elements to their new order; called only when they have to move."""
    return _copied(context, operator, Pattern((context.size(operator.output),), (1,)))


def _copied(context: DynamicContext, operator: Operator, pattern: Pattern) -> Emitted:
    """Copy a pattern of the arrays' order in the order of C's memory."""
    graph = context.graph
    sides = [(graph.shapes[name], graph.layout(name)) for name in (operator.inputs[0], operator.output)]
    found = pattern_of(in_memory(pattern.index(), sides[0], sides[1]))
    if found is None:
        raise unsupported(operator, "the elements move in no regular order")
    return Emitted(
        [f"nd_move(&{context.name}, {{in0}}, {{out}});"], ("nd_move",), "elements in another order",
        constants=move_text(context.name, found),
    )  # fmt: skip


@DYNAMIC_EMITTERS.rules("gru", "lstm")
def _recurrent(context: DynamicContext, operator: Operator) -> Emitted:
    a, network, name = operator.attributes, context.network, context.name
    weight, scale = network.weights[str(operator.weight)]
    units, steps = int(a["units"]), int(a["steps"])
    arrays = (
        Array("int8_t", f"{name}_weights", np.asarray(weight.numpy())),
        context.floats("scale", scale[:, 0].numpy()),
        context.floats("bias", network.bias(operator, operator.bias).numpy()),
        context.floats("state_scale", scale[:, 1].numpy()),
        context.floats("state_bias", network.bias(operator, a["state_bias"]).numpy()),
    )
    fields: dict[str, Any] = {array.name.removeprefix(f"{name}_"): array.name for array in arrays}
    fields |= {
        "features": weight.shape[1] - units, "units": units, "reverse": int(bool(a["reverse"])), "last": int(bool(a["last"])),
    }  # fmt: skip
    valid = valid_steps(int(a["lengths"]), steps)
    floats = units * (2 if operator.kind == "lstm" else 1)
    calls = [
        f"memset({{scratch}}, 0, {4 * floats});",
        f"nd_{operator.kind}(&{name}, {valid}, {{in0}}, {{out}}, {{scratch}});",
    ]
    if a["lengths"] and not a["last"]:  # steps beyond the valid ones
        start = f"{valid} * {units}"
        calls.append(f"memset({{out}} + {start}, 0, (size_t)({steps * units} - {start}) * sizeof(float));")
    words = f"{operator.kind.upper()} of {units} units{', in reverse' if a['reverse'] else ''}"
    kernels = (f"nd_{operator.kind}", "nd_sigmoid", "nd_tanh", "nd_quantize", "nd_range_of")
    return Emitted(
        calls, kernels, f"{words}{', last step' if a['last'] else ''}", arrays,
        text.struct("nd_recurrent_layer", name, fields), "dense",
    )  # fmt: skip


@DYNAMIC_EMITTERS.register("last_step")
def _last(context: DynamicContext, operator: Operator) -> Emitted:
    steps, features = context.graph.shapes[operator.inputs[0]]
    start = f"({valid_steps(int(operator.attributes['lengths']), steps)} - 1) * {features}"
    return Emitted(
        [f"memcpy({{out}}, {{in0}} + {start}, {features} * sizeof(float));"], (), "last valid step"
    )


@DYNAMIC_EMITTERS.register("mean_steps")
def _mean(context: DynamicContext, operator: Operator) -> Emitted:
    steps, features = context.graph.shapes[operator.inputs[0]]
    valid = valid_steps(int(operator.attributes["lengths"]), steps)
    return Emitted(
        [f"nd_mean({valid}, {features}, {{in0}}, {{out}});"], ("nd_mean",), "mean over the valid steps"
    )
