"""The result of a training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemod.records import CurvePoint

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TrainingOutcome:
    """Result of one call of `train`.

    `curve` has a point for every finished epoch, those before a resume included; an epoch that diverged has
    none. `best_epoch` is the epoch whose weights the module holds, None when no epoch qualified (none
    finished, or full sparsity was not reached). `stopped`: the caller's `should_stop` ended it;
    `checkpoint` continues it (empty after a divergence). `early`: patience ran out. `diverged`: the epoch
    in which a loss or a weight became infinite or not a number, which ended the training. `seconds`: wall
    time of this call. `notes`: what the training rule says about it. `kept`: the weights after the epoch that the caller named, None when it named none or training did not get there.
    """

    curve: tuple[CurvePoint, ...]
    best_epoch: int | None
    stopped: bool
    early: bool
    diverged: int | None
    checkpoint: bytes
    seconds: float
    notes: tuple[str, ...] = ()
    kept: "Mapping[str, Tensor] | None" = None

    @property
    def best(self) -> CurvePoint | None:
        """Return the curve's point of the stored weights."""
        return None if self.best_epoch is None else self.curve[self.best_epoch - 1]
