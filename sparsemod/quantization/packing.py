"""The inputs and outputs of a network as bytes in the order of C's memory, one tensor after another."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.quantization.integer_network import IntegerNetwork


def packed(network: IntegerNetwork, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return (N, bytes of all inputs) as int8 from arrays (N, *input shape) by name. Raises InvalidInput for other names."""
    if set(inputs) != set(network.inputs):
        raise InvalidInput("inputs", sorted(inputs), f"exactly {', '.join(network.inputs)}")
    flat = [
        network.tensors[name].to_memory(inputs[name]).reshape(len(inputs[name]), -1).view(np.int8)
        for name in network.inputs
    ]
    return np.concatenate(flat, axis=1)


def unpacked(network: IntegerNetwork, flat: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the outputs (N, *output shape) by name from (N, elements of all outputs)."""
    found, start = {}, 0
    for name, tensor in network.outputs.items():
        info = network.tensors[tensor]
        found[name] = info.from_memory(np.ascontiguousarray(flat[:, start : start + info.elements]))
        start += info.elements
    return found
