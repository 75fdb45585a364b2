"""Interpreter of integer networks.

The kernels of `sparsemod.quantization.kernels` compute the exact integers that `sparsemod.quantization.layers` defines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsemod.quantization.arithmetic import Int8
from sparsemod.quantization.kernels.base import KERNELS
from sparsemod.quantization.layers.base import Layer
from sparsemod.quantization.tensor import TensorInfo

# maximum elements of the largest buffer per chunk of the batch: about the size of a second-level cache
_CHUNK_ELEMENTS = 1 << 19


class Runnable(Protocol):
    """The attributes of a network that the interpreter reads."""

    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def outputs(self) -> Mapping[str, str]: ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    @property
    def layers(self) -> Sequence[Layer]: ...


def run(
    network: Runnable, inputs: Mapping[str, Int8], lengths: NDArray[np.int64] | None = None
) -> dict[str, Int8]:
    """Compute int8 outputs (N, *output shape) by name from int8 inputs (N, *input shape) by name.

    `lengths` (N,): the valid steps, for a network that uses them."""
    chunk = max(8, min(256, _CHUNK_ELEMENTS // max(1, _largest_buffer(network))))
    count = len(next(iter(inputs.values())))
    outputs = {
        name: np.empty((count, *network.tensors[tensor].shape), np.int8)
        for name, tensor in network.outputs.items()
    }
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        chosen = {name: images[part] for name, images in inputs.items()}
        live = _run_chunk(network, chosen, None if lengths is None else lengths[part])
        for name, tensor in network.outputs.items():
            outputs[name][part] = np.moveaxis(live[tensor], -1, 0)
    return outputs


def trace(
    network: Runnable, images: Int8 | Mapping[str, Int8], lengths: NDArray[np.int64] | None = None
) -> dict[str, Int8]:
    """Return every tensor of the network, each (N, *shape); exporters compare them layer by layer."""
    inputs = images if isinstance(images, Mapping) else {network.inputs[0]: images}
    tensors = _run_chunk(network, inputs, lengths)
    return {name: np.ascontiguousarray(np.moveaxis(value, -1, 0)) for name, value in tensors.items()}


def _run_chunk(
    network: Runnable, inputs: Mapping[str, Int8], lengths: NDArray[np.int64] | None
) -> dict[str, Int8]:
    live = {name: np.ascontiguousarray(np.moveaxis(images, 0, -1)) for name, images in inputs.items()}
    for layer in network.layers:
        values: list[NDArray[Any]] = [live[name] for name in layer.inputs]
        if lengths is not None and layer.attributes.get("lengths"):
            values.append(lengths)
        points = [network.tensors[name].zero_point for name in layer.inputs]
        kernel = KERNELS.rule(layer.kind, layer.name)
        live[layer.output] = kernel(layer, values, points, network.tensors[layer.output].zero_point)
    return live


def _largest_buffer(network: Runnable) -> int:
    sizes = [math.prod(tensor.shape) for tensor in network.tensors.values()]
    return max([*sizes, *(layer.buffer(network.tensors[layer.output].shape) for layer in network.layers)])
