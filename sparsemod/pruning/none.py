"""No pruning, so that pipelines need no special case."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from sparsemod.pruning.base import PRUNERS, Pruner
from sparsemod.pruning.schedules import Schedule


@PRUNERS.register("none")
class NoPruning(Pruner):
    """Changes nothing; at its target from the start."""

    def __init__(
        self, sparsity: float = 0.0, schedule: Schedule | None = None, shape: tuple[int, ...] = ()
    ) -> None:
        """All arguments are ignored; they are those of every pruner."""

    def start(self, module: nn.Module) -> None:
        """See Pruner."""

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """See Pruner."""

    def after_step(self) -> None:
        """See Pruner."""

    @property
    def sparsity(self) -> float:
        """0."""
        return 0.0

    @property
    def at_target(self) -> bool:
        """True."""
        return True

    def finish(self) -> None:
        """See Pruner."""

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Pruner."""
