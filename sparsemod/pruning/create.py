"""The pruner that a spec asks for."""

from collections.abc import Sequence

from sparsemod.pruning.base import PRUNERS, Pruner
from sparsemod.pruning.schedules import SCHEDULES
from sparsemod.spec.training import PruningSpec


def create_pruner(settings: PruningSpec, sparsity: float, shape: Sequence[int]) -> Pruner:
    """A fresh pruner with the method and schedule of `settings` that reaches `sparsity`, for modules that
    take samples of `shape`.

    `sparsity` is an argument of its own because it may be searched. Raises UnknownName, InvalidInput.
    """
    schedule = SCHEDULES.get(settings.schedule, field="pruning.schedule")(settings.begin, settings.end)
    return PRUNERS.get(settings.method, field="pruning.method")(sparsity, schedule, tuple(shape))
