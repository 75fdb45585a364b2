"""Static quantization rules of recurrent layers and of reductions over valid steps."""

from typing import Any

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.graph import Operator
from sparsemod.quantization.arithmetic import WEIGHT_MAX, quantize_multiplier
from sparsemod.quantization.layers import LAYERS, Layer
from sparsemod.quantization.layers.recurrent import GATE_BITS, STATE_SCALE, STATE_ZERO, LastStep, MeanSteps
from sparsemod.quantization.static import RULES, Build, Float64
from sparsemod.quantization.tensor import TensorInfo

_BIAS_MAX = 2.0**29
_RESULT_MAX = 2.0**29


@RULES.rules("gru", "lstm")
def _recurrent(build: Build, operator: Operator) -> Layer:
    weight, bias = build.weight_and_bias(operator)
    a = operator.attributes
    state_bias, units = build.array(a["state_bias"]), int(a["units"])
    if not all(np.isfinite(values).all() for values in (weight, bias, state_bias)):
        raise InvalidInput(f"layer {operator.name!r}", "weights", "finite values; the network has diverged")
    name, source = operator.output, build.tensors[operator.inputs[0]]
    build.tensors[name] = TensorInfo(
        build.graph.shapes[name], STATE_SCALE, STATE_ZERO, build.graph.layouts.get(name)
    )
    features = weight.shape[1] - units
    of_input = _part(weight[:, :features], bias, source.scale, 255)
    of_state = _part(weight[:, features:], state_bias, STATE_SCALE, 128)
    layer: Any = LAYERS.get(operator.kind)
    made: Layer = layer(
        **build.base(operator),
        weight=np.concatenate([of_input["weight"], of_state["weight"]], 1),
        bias=of_input["bias"], multiplier=of_input["multiplier"], shift=of_input["shift"], weight_scale=of_input["scale"],
        state_bias=of_state["bias"], state_multiplier=of_state["multiplier"], state_shift=of_state["shift"],
        state_scale=of_state["scale"], units=units, steps=int(a["steps"]), reverse=bool(a["reverse"]),
        last=bool(a["last"]), lengths=int(a["lengths"]),
    )  # fmt: skip
    return made


def _part(weight: Float64, bias: Float64, input_scale: float, reach: int) -> dict[str, Any]:
    """Quantize the rows of one matrix, whose inputs are at most `reach` steps of `input_scale` from zero."""
    largest = np.abs(weight).max(axis=1)
    least = np.abs(bias) / (input_scale * _BIAS_MAX)
    # a row of zeros: the scale of its bias alone
    scale = np.maximum(np.maximum(largest / WEIGHT_MAX, least), 1e-12).astype(np.float32)
    wide = scale.astype(np.float64)
    integers = np.clip(np.rint(weight / wide[:, None]), -WEIGHT_MAX, WEIGHT_MAX)
    unit = wide * input_scale
    biases = np.clip(np.rint(bias / unit), -(2.0**30), 2.0**30)
    # Gates beyond the range of 16 bits are saturated; far beyond it they need not be told apart.
    results = (np.abs(integers).sum(axis=1) * reach + np.abs(biases)) * unit * 2.0**GATE_BITS
    factor = np.minimum(1.0, _RESULT_MAX / np.maximum(results, 1.0))
    multiplier, shift = quantize_multiplier(unit * 2.0**GATE_BITS * factor)
    return {
        "weight": integers.astype(np.int8), "bias": biases.astype(np.int32), "multiplier": multiplier, "shift": shift,
        "scale": scale,
    }  # fmt: skip


@RULES.register("last_step")
def _last(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    return LastStep(**build.base(operator), lengths=int(operator.attributes["lengths"]))


@RULES.register("mean_steps")
def _mean(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    return MeanSteps(**build.base(operator), lengths=int(operator.attributes["lengths"]))
