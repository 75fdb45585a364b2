"""What pruning will remove, known before any training. No torch here: screening and cost models read it."""

import math

from sparsemod.errors import InvalidInput


def check_sparsity(sparsity: float) -> float:
    """`sparsity` itself when it is in [0, 1). Raises InvalidInput."""
    if not 0 <= sparsity < 1:
        raise InvalidInput("sparsity", sparsity, "at least 0 and below 1")
    return float(sparsity)


def planned_pruned(weights: int, sparsity: float) -> int:
    """How many of `weights` weights become zero: sparsity x weights, rounded half up."""
    return math.floor(check_sparsity(sparsity) * weights + 0.5)


def planned_keep(filters: int, sparsity: float) -> int:
    """How many of a layer's `filters` filters stay: (1 - sparsity) x filters rounded up, and always one.

    Rounded up because the last filters of a tiny layer are the ones it needs; a product that is an integer
    but for the error of its float (0.7 x 10 = 7.000000000000001) counts as that integer.
    """
    return max(1, math.ceil((1 - check_sparsity(sparsity)) * filters - 1e-9)) if filters else 0
