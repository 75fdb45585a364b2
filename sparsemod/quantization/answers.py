"""What int8 outputs of a network mean: classes, labels, values or scores."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.quantization.arithmetic import Int8, dequantize_values
from sparsemod.quantization.network import best

if TYPE_CHECKING:
    from sparsemod.quantization.integer_network import IntegerNetwork


def answers(network: "IntegerNetwork", inputs: Int8, outputs: Int8) -> NDArray[Any]:
    """Return what the C code makes of int8 outputs for int8 inputs, bit for bit; see `IntegerNetwork.answers`."""
    kind = "classes" if network.decoding is None else network.decoding.targets
    source, output = network.tensors[network.input], network.tensors[network.output]
    if kind == "pixels":
        return np.asarray(outputs.argmax(axis=1))
    if kind == "labels":
        return np.asarray(outputs > output.zero_point, np.uint8)
    if kind == "values" and network.decoding is not None:
        return network.decoding.values(dequantize_values(outputs, output.scale, output.zero_point))
    if kind == "normal":
        x = inputs.reshape(len(inputs), -1).astype(np.int64) - source.zero_point
        y = outputs.reshape(len(outputs), -1).astype(np.int64) - output.zero_point
        a, b = float(source.scale), float(output.scale)
        # Sums of whole numbers are exact in any order.
        squares = [np.asarray((p * q).sum(axis=1), np.float64) for p, q in ((x, x), (x, y), (y, y))]
        total = a * a * squares[0] - 2.0 * a * b * squares[1] + b * b * squares[2]
        return np.asarray(np.maximum(total, 0.0) / x.shape[1], np.float32)
    return best(outputs)
