"""The effect of pruning, known before any training. Screening and cost models import it without torch."""

import math

from sparsemod.errors import InvalidInput


def check_sparsity(sparsity: float) -> float:
    """Return `sparsity` when it is in [0, 1). Raises InvalidInput."""
    if not 0 <= sparsity < 1:
        raise InvalidInput("sparsity", sparsity, "at least 0 and below 1")
    return float(sparsity)


def planned_pruned(weights: int, sparsity: float) -> int:
    """Return how many of `weights` weights become zero: sparsity x weights, rounded half up."""
    return math.floor(check_sparsity(sparsity) * weights + 0.5)


def reached_note(reached: float, wanted: float) -> tuple[str, ...]:
    """Return a sentence on the share of the weights that pruning removed if it is not within 0.5 % of `wanted`."""
    if abs(reached - wanted) <= 0.005:
        return ()
    return (f"pruning removed {reached:.4f} of the weights, the nearest reachable share to {wanted:g}",)


def planned_keep(filters: int, sparsity: float) -> int:
    """Return how many of a layer's `filters` filters stay: (1 - sparsity) x filters rounded up, at least one.

    It is rounded up because a tiny layer needs its last filters. A product that is an integer except for
    float error (0.7 x 10 = 7.000000000000001) counts as that integer.
    """
    return max(1, math.ceil((1 - check_sparsity(sparsity)) * filters - 1e-9)) if filters else 0
