"""Four ways to see a convolution's weight as a matrix, and the chain of two layers that each gives.

| scheme | matrix | first layer | second layer |
| --- | --- | --- | --- |
| 0 | outputs x (inputs rows columns) | rows x columns | 1 x 1 |
| 1 | (outputs rows) x (inputs columns) | 1 x columns | rows x 1 |
| 2 | (outputs columns) x (inputs rows) | rows x 1 | 1 x columns |
| 3 | (outputs rows columns) x inputs | 1 x 1 | rows x columns |

The input channels may be split into equal groups, each with a matrix and a rank of its own; the first layer
is then grouped. Source: Liebenwein et al., "Compressing neural networks: towards determining the optimal
layer-wise decomposition", 2021.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsemod.pruning.low_rank.layers import Factor

SCHEMES = (0, 1, 2, 3)

_OUTER = {0: (0,), 1: (0, 2), 2: (0, 3), 3: (0, 2, 3)}


def distinct_schemes(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the schemes that differ for a weight (outputs, inputs, rows, columns)."""
    rows, columns = shape[2], shape[3]
    if rows == columns == 1:
        return (0,)
    return SCHEMES if rows > 1 and columns > 1 else (0, 3)


def allowed_splits(shape: Sequence[int], axes: int, wanted: Sequence[int]) -> tuple[int, ...]:
    """Return for each of `wanted` the largest number up to it that divides the input channels, without repetition.

    A linear layer is not split.
    """
    if axes == 0:
        return (1,)
    found = [next(k for k in range(min(most, shape[1]), 0, -1) if shape[1] % k == 0) for most in wanted]
    return tuple(dict.fromkeys(found))


def fold(weight: Tensor, scheme: int) -> Tensor:
    """Return the matrix of a scheme."""
    outer = _OUTER[scheme]
    inner = tuple(axis for axis in (1, 2, 3) if axis not in outer)
    rows = 1
    for axis in outer:
        rows *= weight.shape[axis]
    return weight.permute(*outer, *inner).reshape(rows, -1)


def matrix_shape(shape: Sequence[int], scheme: int) -> tuple[int, int]:
    """Return rows and columns of the matrix of a scheme."""
    outputs, inputs, rows, columns = shape
    outer = outputs * (rows if scheme in (1, 3) else 1) * (columns if scheme in (2, 3) else 1)
    return outer, outputs * inputs * rows * columns // outer


def largest_rank(shape: Sequence[int], scheme: int, splits: int) -> int:
    """Return the largest useful rank of each group."""
    rows, columns = matrix_shape(shape, scheme)
    return max(1, min(rows, columns // splits))


def cost(shape: Sequence[int], scheme: int, splits: int, rank: int) -> int:
    """Return the weights of the chain: rank x (columns + splits x rows)."""
    rows, columns = matrix_shape(shape, scheme)
    return rank * (columns + splits * rows)


def factors(
    left: Sequence[Tensor], right: Sequence[Tensor], shape: Sequence[int], scheme: int
) -> list[Factor]:
    """Return the chain for the matrices left @ right of each group of input channels.

    `left`: (matrix rows, rank) and `right`: (rank, matrix columns / splits), one of each for each group.
    """
    outputs, inputs, rows, columns = shape
    inner_rows, inner_columns = (rows if scheme in (0, 2) else 1), (columns if scheme in (0, 1) else 1)
    per = inputs // len(right)
    first = torch.cat([r.reshape(-1, per, inner_rows, inner_columns) for r in right])
    both = torch.cat(list(left), 1)
    outer_rows, outer_columns = rows // inner_rows, columns // inner_columns
    second = both.reshape(outputs, outer_rows, outer_columns, -1).permute(0, 3, 1, 2)
    return [Factor(first, groups=len(right)), Factor(second)]


def split_matrices(weight: Tensor, scheme: int, splits: int) -> list[Tensor]:
    """Return the matrix of each group of input channels."""
    return [fold(part, scheme) for part in weight.chunk(splits, dim=1)]


def truncated(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the best approximation of a rank as (rows, rank) and (rank, columns), with balanced scales."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].clamp_min(0).sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]


def decompose(weight: Tensor, scheme: int, splits: int, rank: int) -> list[Factor]:
    """Return the chain of two layers from a singular value decomposition of each group."""
    pairs = [truncated(matrix, rank) for matrix in split_matrices(weight, scheme, splits)]
    return factors([p[0] for p in pairs], [p[1] for p in pairs], tuple(weight.shape), scheme)
