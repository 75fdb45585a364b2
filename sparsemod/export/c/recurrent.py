"""C code of recurrent layers and of reductions over valid steps."""

from typing import Any

import numpy as np

from sparsemod.arena.recurrent_memory import UNIT_BYTES
from sparsemod.export.c import text
from sparsemod.export.c.layers import EMITTERS, Array, Context, Emitted
from sparsemod.quantization.layers.recurrent import LastStep, MeanSteps, Recurrent


@EMITTERS.rules("gru", "lstm")
def _recurrent(context: Context, layer: Recurrent) -> Emitted:
    kernel, name = f"nn_{layer.kind}", context.array_name
    features, weight = layer.features, layer.weight
    sums = weight[:, :features].astype(np.int64).sum(axis=1)
    arrays = [
        Array("int8_t", f"{name}_weights", weight),
        Array("int32_t", f"{name}_bias", layer.bias.astype(np.int64) - context.zero(layer.inputs[0]) * sums),
        Array("int32_t", f"{name}_multiplier", layer.multiplier),
        Array("int8_t", f"{name}_shift", _shifts(layer.multiplier, layer.shift)),
        Array("int32_t", f"{name}_state_bias", layer.state_bias),
        Array("int32_t", f"{name}_state_multiplier", layer.state_multiplier),
        Array("int8_t", f"{name}_state_shift", _shifts(layer.state_multiplier, layer.state_shift)),
    ]
    fields: dict[str, Any] = {array.name.removeprefix(f"{name}_"): array.name for array in arrays}
    fields |= {
        "features": features, "units": layer.units, "reverse": int(layer.reverse), "last": int(layer.last),
    }  # fmt: skip
    steps = valid_steps(layer.lengths, layer.steps)
    calls = [
        f"memset({{scratch}}, 0, {UNIT_BYTES * layer.units});",
        f"{kernel}(&{context.name}, {steps}, {{in0}}, {{out}}, {{scratch}});",
    ]
    if layer.lengths and not layer.last:  # steps beyond the valid ones
        start = f"{steps} * {layer.units}"
        calls.append(f"memset({{out}} + {start}, 0, (size_t)({layer.steps * layer.units} - {start}));")
    words = f"{layer.kind.upper()} of {layer.units} units{', in reverse' if layer.reverse else ''}"
    return Emitted(
        calls, (kernel, "nn_sigmoid"), f"{words}{', last step' if layer.last else ''}", tuple(arrays),
        text.struct("nn_recurrent_layer", context.name, fields), "dense",
    )  # fmt: skip


def _shifts(multiplier: Any, shift: Any) -> Any:
    """Return the shifts of the kernels, which start with the high word of the product."""
    return np.where(multiplier == 0, 0, -2 - shift.astype(np.int64))


def valid_steps(divisor: int, steps: int) -> str:
    """Return the number of valid steps as C."""
    return f"nn_steps(length, {divisor}, {steps})" if divisor else str(steps)


@EMITTERS.register("last_step")
def _last(context: Context, layer: LastStep) -> Emitted:
    steps, features = context.shape(layer.inputs[0])
    start = f"({valid_steps(layer.lengths, steps)} - 1) * {features}"
    return Emitted([f"memcpy({{out}}, {{in0}} + {start}, {features});"], (), "last valid step")


@EMITTERS.register("mean_steps")
def _mean(context: Context, layer: MeanSteps) -> Emitted:
    steps, features = context.shape(layer.inputs[0])
    zero = context.zero(layer.inputs[0])
    call = f"nn_mean_steps({valid_steps(layer.lengths, steps)}, {features}, {zero}, {{in0}}, {{out}});"
    return Emitted([call], ("nn_mean_steps",), "mean over the valid steps")
