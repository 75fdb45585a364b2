"""Translation of ONNX normalizations to steps."""

import numpy as np

from sparsemod.importing.readers.onnx_file import Call, rule
from sparsemod.layouts import Shape


@rule("BatchNormalization")
def _batch_norm(call: Call) -> str:
    names = ("weight", "bias", "mean", "variance")
    values = {name: np.asarray(call.constant(place + 1), np.float32) for place, name in enumerate(names)}
    return call.emit("batch_norm", (call.tensor(),), **values, epsilon=float(call.get("epsilon", 1e-5)))


@rule("LayerNormalization")
def _layer_norm(call: Call) -> str:
    shape = call.shape()
    axis = call.axis(int(call.get("axis", -1)))
    return _norm(call, "layer", shape[axis:])


@rule("InstanceNormalization")
def _instance_norm(call: Call) -> str:
    return _norm(call, "instance", call.shape()[:1])


@rule("GroupNormalization")
def _group_norm(call: Call) -> str:
    channels, groups = call.shape()[0], int(call.get("num_groups", 1))
    if groups < 1 or channels % groups:
        raise call.builder.broken(f"{groups} groups of {channels} channels")
    return _norm(call, "group", (channels,), groups)


def _norm(call: Call, operator: str, shape: Shape, groups: int = 1) -> str:
    """Add a normalization whose constants have `shape`; GroupNormalization of opset 18 has one for each group."""
    constants = {}
    for place, name, neutral in ((1, "weight", 1.0), (2, "bias", 0.0)):
        value = call.constant(place)
        array = np.full(shape, neutral, np.float32) if value is None else np.asarray(value, np.float32)
        if operator == "group" and array.size == groups:
            array = np.repeat(array.reshape(-1), shape[0] // groups)
        if array.size != int(np.prod(shape)):
            raise call.builder.broken(f"constants of shape {array.shape} for {shape}")
        constants[name] = array.reshape(shape)
    epsilon = float(call.get("epsilon", 1e-5))
    return call.emit("norm", (call.tensor(),), operator=operator, **constants, epsilon=epsilon, groups=groups)
