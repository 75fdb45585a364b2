"""Sizes and ranks of the tensors that the substitutes TensorTrain, Tucker and CP make of a pointwise matrix."""

import itertools
import math

from sparsemod.substitutes.base import ConvShape


def sizes(shape: ConvShape, dimensions: int) -> tuple[int, ...]:
    """Return the sizes of the tensor with `dimensions` dimensions that holds the matrix (outputs, inputs).

    They are near the same root of the number of entries: all equal if that is a whole number; for two dimensions the
    matrix itself; else, one after the other, the smallest divisor of the rest that is not below the root.
    """
    total = shape.inputs * shape.outputs
    root = math.exp(math.log(total) / dimensions)
    if abs(round(root) - root) < 1e-6:
        return (round(root),) * dimensions
    if dimensions == 2:
        return shape.outputs, shape.inputs
    found = []
    for _ in range(dimensions - 1):
        divisor = min(round(root), total)
        while total % divisor:
            divisor += 1
        found.append(divisor)
        total //= divisor
    return *found, total


def train_ranks(size: tuple[int, ...], share: float) -> tuple[int, ...]:
    """Return the ranks of a tensor train, with the outer ones: 1, then round(share x min(D_j, D_j+1)), 1."""
    inner = [max(1, round(share * min(a, b))) for a, b in itertools.pairwise(size)]
    return 1, *inner, 1


def tucker_ranks(size: tuple[int, ...], share: float) -> tuple[int, ...]:
    """Return the Tucker ranks: round(share x D_j), at least 1."""
    return tuple(max(1, round(share * d)) for d in size)


def full_ranks(size: tuple[int, ...], core: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ranks of the train that holds a Tucker core: min(product of D before, product of ranks after)."""
    middle = [min(math.prod(size[:j]), math.prod(core[j:])) for j in range(1, len(size))]
    return 1, *middle, 1


def train_weights(size: tuple[int, ...], ranks: tuple[int, ...]) -> int:
    """Return the number of entries of the train's cores."""
    return sum(a * d * b for a, d, b in zip(ranks, size, ranks[1:], strict=False))
