"""A tensor of an integer network."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.layouts import Shape, TensorLayout, layout
from sparsemod.quantization.arithmetic import (
    INT8_MAX,
    INT8_MIN,
    Float32,
    dequantize_values,
    quantize_values,
)


@dataclass(frozen=True)
class TensorInfo:
    """An int8 tensor: one sample's shape, and real value = (q - zero_point) x scale; `scale` is a float32 number.

    `layout` names the axes (see `sparsemod.layouts`) when it is not the default layout of the shape. `bits`: 8, or 16 for an int16
    tensor of samples, whose zero point is 0."""

    shape: Shape
    scale: float
    zero_point: int
    layout: str | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise InvalidInput("tensor.shape", self.shape, "at least one axis, all sizes positive")
        if not 0 < self.scale < float("inf") or float(np.float32(self.scale)) != self.scale:
            raise InvalidInput("tensor.scale", self.scale, "a positive float32 number")
        if not INT8_MIN <= self.zero_point <= INT8_MAX:
            raise InvalidInput("tensor.zero_point", self.zero_point, "-128 to 127")
        if self.bits not in (8, 16) or (self.bits == 16 and self.zero_point):
            raise InvalidInput("tensor.bits", (self.bits, self.zero_point), "8, or 16 with zero point 0")
        if self.layout is not None:
            layout(self.layout, self.shape, "tensor.layout")

    @property
    def dtype(self) -> Any:
        """Return numpy's type of the elements."""
        return np.int8 if self.bits == 8 else np.int16

    def quantize(self, values: NDArray[Any]) -> NDArray[Any]:
        """Quantize real values: round half to even, clamp."""
        return quantize_values(values, self.scale, self.zero_point, self.bits)

    def dequantize(self, values: NDArray[Any]) -> Float32:
        """Return the real values."""
        return dequantize_values(values, self.scale, self.zero_point)

    @property
    def axes(self) -> TensorLayout:
        """Return the tensor's layout."""
        return layout(self.layout, self.shape)

    def to_memory(self, values: NDArray[Any]) -> NDArray[Any]:
        """Convert (N, *shape) to C's memory order: positions before channels. The axes are permuted and keep their sizes."""
        return np.ascontiguousarray(values.transpose(0, *(axis + 1 for axis in self.axes.memory)))

    def from_memory(self, values: NDArray[Any]) -> NDArray[Any]:
        """Invert `to_memory`, for any array (N, ...) with the elements in that order."""
        memory = self.axes.memory
        in_memory_order = values.reshape(-1, *(self.shape[axis] for axis in memory))
        places = sorted(range(len(memory)), key=lambda place: memory[place])
        return np.ascontiguousarray(in_memory_order.transpose(0, *(place + 1 for place in places)))

    @property
    def elements(self) -> int:
        """Return the number of values of one sample."""
        return math.prod(self.shape)
