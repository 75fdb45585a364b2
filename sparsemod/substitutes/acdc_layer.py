"""The pointwise convolution of the substitute `ACDC_n`."""

import math

import torch
from torch import Tensor, nn

from sparsemod.substitutes.base import ConvShape, Making
from sparsemod.substitutes.layers import ChannelShuffle, ComputedConv

_SPREAD = 0.1
"""Relative standard deviation of the diagonals' magnitudes at the start."""


class AcdcConv(ComputedConv):
    """A pointwise convolution by a product of `layers` structured matrices on N = max(inputs, outputs) channels.

    The inputs are repeated up to N channels; outputs are sums of the N channels in equal shares. The diagonals start as
    random signs with magnitudes near 1, so that every layer keeps the variance.
    """

    cosine: Tensor
    spread: Tensor
    collect: Tensor

    def __init__(self, shape: ConvShape, layers: int, variance: float, making: Making) -> None:
        super().__init__(shape, shape.bias, making)
        self.width = max(shape.inputs, shape.outputs)
        # A row of the product of orthonormal matrices has entries of variance 1 / N; see `kernel` for 1 / inputs.
        self.scale = math.sqrt(variance * shape.inputs)
        self.diagonals = nn.Parameter(self._start(layers, making))
        self.register_buffer("cosine", _cosine(self.width, making), persistent=False)
        self.register_buffer("spread", _tiles(self.width, shape.inputs, making), persistent=False)
        self.register_buffer("collect", _tiles(self.width, shape.outputs, making).t(), persistent=False)
        self.riffle = ChannelShuffle(self.width // 2 if self.width % 2 == 0 else 1)

    def _start(self, layers: int, making: Making) -> Tensor:
        start = torch.empty(layers, 2, self.width, device=making.device, dtype=making.dtype)
        if start.is_meta:
            return start
        signs = torch.randint(0, 2, start.shape).to(start) * 2 - 1
        return start.normal_(1.0, _SPREAD) * signs / math.sqrt(1 + _SPREAD**2)

    def kernel(self) -> Tensor:
        """Return the pointwise matrix as a kernel."""
        inputs, outputs, n = self.shape.inputs, self.shape.outputs, self.width
        # Rows are channels; the matrix starts as the repetition of the inputs.
        product = self.spread * math.sqrt(n / inputs)
        for first, second in self.diagonals.unbind():
            product = second[:, None] * (self.cosine @ (first[:, None] * product))
            product = self.riffle((self.cosine.t() @ self.riffle(product[None])[0])[None])[0]
        product = self.scale * (self.collect @ product)
        return product.reshape(outputs, inputs, *self.shape.kernel)


def _cosine(n: int, making: Making) -> Tensor:
    """Return the orthonormal DCT-II matrix (n, n)."""
    if making.device.type == "meta":
        return torch.empty(n, n, device="meta", dtype=making.dtype)
    k, x = torch.meshgrid(torch.arange(n).double(), torch.arange(n).double(), indexing="ij")
    matrix = torch.cos(math.pi * (2 * x + 1) * k / (2 * n)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.to(making.device, making.dtype)


def _tiles(rows: int, columns: int, making: Making) -> Tensor:
    """Return the matrix (rows, columns) whose row r has its entry at column r mod columns; its columns have length 1."""
    matrix = torch.zeros(rows, columns, device=making.device, dtype=making.dtype)
    if matrix.is_meta:
        return matrix
    place = torch.arange(rows)
    matrix[place, place % columns] = 1.0
    return matrix / matrix.sum(0).sqrt()
