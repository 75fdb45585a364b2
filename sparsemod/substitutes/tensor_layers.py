"""The pointwise convolutions of the substitutes TensorTrain, Tucker and CP."""

import math

from torch import Tensor, nn

from sparsemod.substitutes.base import ConvShape, Making
from sparsemod.substitutes.layers import ComputedConv, normal


class TrainConv(ComputedConv):
    """A pointwise convolution whose matrix is a tensor train: cores (rank, size, rank)."""

    def __init__(
        self, shape: ConvShape, size: tuple[int, ...], ranks: tuple[int, ...], variance: float, making: Making
    ) -> None:
        super().__init__(shape, shape.bias, making)
        # An entry sums as many products of the cores' entries as there are paths through the ranks.
        each = (variance / math.prod(ranks)) ** (1 / len(size))
        self.cores = nn.ParameterList(
            normal((a, d, b), each, making) for a, d, b in zip(ranks, size, ranks[1:], strict=False)
        )

    def kernel(self) -> Tensor:
        """Return the kernel."""
        return contracted(self.cores).reshape(self.shape.outputs, self.shape.inputs, *self.shape.kernel)


class TuckerConv(ComputedConv):
    """A pointwise convolution whose matrix is a Tucker decomposition: factors (size, rank) and a train as core."""

    def __init__(
        self, shape: ConvShape, size: tuple[int, ...], core: tuple[int, ...], ranks: tuple[int, ...],
        variance: float, making: Making,
    ) -> None:  # fmt: skip
        super().__init__(shape, shape.bias, making)
        inner = variance / math.prod(core)  # with factors of variance 1
        each = (inner / math.prod(ranks)) ** (1 / len(size))
        self.factors = nn.ParameterList(normal((d, t), 1.0, making) for d, t in zip(size, core, strict=True))
        self.cores = nn.ParameterList(
            normal((a, t, b), each, making) for a, t, b in zip(ranks, core, ranks[1:], strict=False)
        )

    def kernel(self) -> Tensor:
        """Return the kernel."""
        cores = [
            (factor @ core.transpose(0, 1).flatten(1))
            .reshape(len(factor), core.shape[0], core.shape[2])
            .transpose(0, 1)
            for factor, core in zip(self.factors, self.cores, strict=True)
        ]
        return contracted(cores).reshape(self.shape.outputs, self.shape.inputs, *self.shape.kernel)


class CpConv(ComputedConv):
    """A pointwise convolution whose matrix is a canonical polyadic decomposition: factors (size, rank)."""

    def __init__(
        self, shape: ConvShape, size: tuple[int, ...], rank: int, variance: float, making: Making
    ) -> None:
        super().__init__(shape, shape.bias, making)
        each = (variance / rank) ** (1 / len(size))
        self.factors = nn.ParameterList(normal((d, rank), each, making) for d in size)

    def kernel(self) -> Tensor:
        """Return the kernel."""
        product: Tensor = self.factors[0]
        for factor in list(self.factors)[1:-1]:
            product = (product[:, None, :] * factor[None]).flatten(0, 1)
        product = product @ self.factors[-1].t()
        return product.reshape(self.shape.outputs, self.shape.inputs, *self.shape.kernel)


def contracted(cores: nn.ParameterList | list[Tensor]) -> Tensor:
    """Return the entries of a train's tensor, flat, in row-major order."""
    first, *rest = cores
    product = first.reshape(-1, first.shape[2])
    for core in rest:
        product = (product @ core.reshape(core.shape[0], -1)).reshape(-1, core.shape[2])
    return product.reshape(-1)
