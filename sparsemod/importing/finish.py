"""The steps of a file as a model: a float module, or the integer network of a file that is int8 throughout.

A file that is int8 in parts, as tools write it for operators that they do not quantize, has no scales for its other tensors. It is read as a
float model: the weights have the real values of the file's integers, and the whole model is quantized here.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from sparsemod.errors import Unsupported
from sparsemod.graph.functions import X
from sparsemod.importing.float_network import ImportedNetwork
from sparsemod.importing.integer import to_integer_network
from sparsemod.importing.metadata import described
from sparsemod.importing.reader import Imported
from sparsemod.importing.simplify import simplified
from sparsemod.importing.source import Source
from sparsemod.importing.steps import Scale, Step, Steps
from sparsemod.quantization.arithmetic import INT8_MIN

_NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid", "exp", "sqrt", "abs", "square", "softplus")
_SAME_RANGE = ("view", "max_pool", "avg_pool", "mean", "concat", "resize")
"""Steps whose results lie within the range of their inputs."""


def finished(steps: Steps, source: Source, title: str, *, channels_last: bool = False) -> Imported:
    """Return the model of a file's steps; `title` is the name of the format. Raises Unsupported, InvalidInput."""
    name, shape = source.name.rpartition(".")[0], steps.shapes[steps.input]
    cause = ""
    if steps.quantized:
        try:
            model = simplified(steps)
            network = described(to_integer_network(model, source.name), steps.metadata)
        except Unsupported as error:
            try:
                steps = dequantized(steps)
            except Unsupported:
                raise error from None
            cause = (
                f"{error.operator!r} at layer {error.layer!r} is not int8 in the file: all weights are read as float "
                "numbers, and the whole model is quantized here, with other scales than the file's"
            )
        else:
            return Imported(name, f"{title}, int8", shape, None, network, channels_last, model.notes)
    model = simplified(steps if cause else dequantized(steps))
    notes = (*model.notes, cause) if cause else model.notes
    kind = "int8 in parts, read as float" if cause else "float"
    module = ImportedNetwork(model).eval()
    return Imported(name, f"{title}, {kind}", shape, module, None, channels_last, notes)


def dequantized(model: Steps) -> Steps:
    """Return an int8 model with the real values of its weights and without scales. Raises Unsupported for tables of int8 numbers.

    Tools leave out a relu where the range of the int8 result starts at 0: the integers saturate there. The float model has it.
    """
    steps: list[Step] = []
    renames: dict[str, str] = {}
    ranges: dict[str, str] = {}  # tensor that a step computes -> the relu that would not change it, else ""
    for step in model.steps:
        inputs = tuple(renames.get(name, name) for name in step.inputs)
        if step.kind == "quantize":
            relu = _relu(model.scales[step.output])
            if relu and ranges.get(inputs[0], relu) not in (relu, "relu6"):
                steps.append(
                    replace(step, kind="function", inputs=inputs, attributes={"function": (relu, X)})
                )
                ranges[step.output] = relu
            else:
                renames[step.output] = inputs[0]
            continue
        if step.kind == "lookup":
            raise Unsupported(step.kind, step.title, "reading a model that is int8 in parts")
        steps.append(replace(step, inputs=inputs, attributes=_real(model, step)))
        ranges[step.output] = _range(step, [ranges.get(name, "") for name in inputs])
    output = renames.get(model.output, model.output)
    return replace(model, output=output, steps=tuple(steps), scales={})


def _range(step: Step, inputs: list[str]) -> str:
    """Return the relu that would not change the result of a step whose inputs have these ranges, else ""."""
    if step.kind == "softmax":
        return "relu"
    if step.kind == "function":
        name = str(step.attributes["function"][0])
        return name if name == "relu6" else "relu" if name in _NOT_NEGATIVE else ""
    return min(inputs, key=len) if step.kind in _SAME_RANGE else ""


def _relu(scale: Scale) -> str:
    """Return the function that an int8 tensor without negative values implies, else ""."""
    if scale.zero_point != INT8_MIN:
        return ""
    return "relu6" if abs(255 * scale.scale - 6) < 1e-3 else "relu"


def _real(model: Steps, step: Step) -> dict[str, Any]:
    """Return the attributes with the real values of integer weights."""
    found = dict(step.attributes)
    scale = found.pop("weight_scale", None)
    if scale is None:
        return found
    weight, bias = found["weight"], found["bias"]
    scale = np.broadcast_to(np.asarray(scale, np.float32).reshape(-1), (len(weight),))
    found["weight"] = weight.astype(np.float32) * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if bias is not None and bias.dtype == np.int32:
        found["bias"] = (bias * (np.float64(model.scales[step.inputs[0]].scale) * scale)).astype(np.float32)
    return found
