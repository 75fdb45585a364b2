"""What int8 outputs of a network mean: classes, labels, values or scores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.decoding import Decoding
from sparsemod.quantization.arithmetic import Int8, dequantize_values
from sparsemod.quantization.network import best
from sparsemod.quantization.tensor import TensorInfo


def answers(
    decoding: Decoding | None, source: TensorInfo, output: TensorInfo, inputs: Int8, outputs: Int8
) -> NDArray[Any]:
    """Return what the C code makes of int8 outputs for int8 inputs, bit for bit; see `IntegerNetwork.answers`.

    `source`, `output`: the input's and the output's tensor.
    """
    kind = "classes" if decoding is None else decoding.targets
    if kind == "pixels":
        return np.asarray(outputs.argmax(axis=1))
    if kind == "labels":
        return np.asarray(outputs > output.zero_point, np.uint8)
    if kind == "values" and decoding is not None:
        return decoding.values(dequantize_values(outputs, output.scale, output.zero_point))
    if kind == "normal":
        x = inputs.reshape(len(inputs), -1).astype(np.int64) - source.zero_point
        y = outputs.reshape(len(outputs), -1).astype(np.int64) - output.zero_point
        a, b = float(source.scale), float(output.scale)
        # Sums of whole numbers are exact in any order.
        squares = [np.asarray((p * q).sum(axis=1), np.float64) for p, q in ((x, x), (x, y), (y, y))]
        total = a * a * squares[0] - 2.0 * a * b * squares[1] + b * b * squares[2]
        return np.asarray(np.maximum(total, 0.0) / x.shape[1], np.float32)
    return best(outputs)
