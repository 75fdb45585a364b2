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
    def input(self) -> str: ...

    @property
    def output(self) -> str: ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    @property
    def layers(self) -> Sequence[Layer]: ...


def run(network: Runnable, images: Int8, lengths: NDArray[np.int64] | None = None) -> Int8:
    """Compute int8 outputs (N, *output shape) from int8 inputs (N, *input shape).

    `lengths` (N,): the valid steps, for a network that uses them."""
    chunk = max(8, min(256, _CHUNK_ELEMENTS // max(1, _largest_buffer(network))))
    output = np.empty((len(images), *network.tensors[network.output].shape), np.int8)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        made = _run_chunk(network, images[part], None if lengths is None else lengths[part])
        output[part] = np.moveaxis(made, -1, 0)
    return output


def trace(network: Runnable, images: Int8, lengths: NDArray[np.int64] | None = None) -> dict[str, Int8]:
    """Return every tensor of the network, each (N, *shape); exporters compare them layer by layer."""
    tensors: dict[str, Int8] = {}
    _run_chunk(network, images, lengths, tensors)
    return {name: np.ascontiguousarray(np.moveaxis(value, -1, 0)) for name, value in tensors.items()}


def _run_chunk(
    network: Runnable,
    images: Int8,
    lengths: NDArray[np.int64] | None = None,
    tensors: dict[str, Int8] | None = None,
) -> Int8:
    live: dict[str, Int8] = {network.input: np.ascontiguousarray(np.moveaxis(images, 0, -1))}
    for layer in network.layers:
        inputs: list[NDArray[Any]] = [live[name] for name in layer.inputs]
        if lengths is not None and layer.attributes.get("lengths"):
            inputs.append(lengths)
        points = [network.tensors[name].zero_point for name in layer.inputs]
        kernel = KERNELS.rule(layer.kind, layer.name)
        live[layer.output] = kernel(layer, inputs, points, network.tensors[layer.output].zero_point)
    if tensors is not None:
        tensors.update(live)
    return live[network.output]


def _largest_buffer(network: Runnable) -> int:
    sizes = [math.prod(tensor.shape) for tensor in network.tensors.values()]
    return max([*sizes, *(layer.buffer(network.tensors[layer.output].shape) for layer in network.layers)])
