"""A pruner from names and numbers, as they stand in a spec."""

from collections.abc import Sequence

from sparsemod.pruning.base import PRUNERS, Pruner
from sparsemod.pruning.schedules import SCHEDULES


def create_pruner(
    method: str,
    sparsity: float,
    shape: Sequence[int],
    *,
    schedule: str = "cubic",
    begin: float = 0.2,
    end: float = 0.7,
) -> Pruner:
    """The pruner called `method` for modules that take samples of `shape`.

    `schedule` spreads `sparsity` over the shares `begin` to `end` of the epochs. Raises UnknownName, InvalidInput.
    """
    when = SCHEDULES.get(schedule, field="pruning.schedule")(begin, end)
    return PRUNERS.get(method, field="pruning.method")(sparsity, when, tuple(shape))
