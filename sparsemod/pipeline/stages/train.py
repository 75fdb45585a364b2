"""Training and pruning of the network."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.records import TrialResult
from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("train")
class Train(Stage):
    """Train for the trial's epochs, with the spec's pruning method and schedule; keep the best weights."""

    needs: ClassVar[frozenset[str]] = frozenset({"network"})
    gives: ClassVar[frozenset[str]] = frozenset({"trained"})
    ends: ClassVar[frozenset[str]] = frozenset({"fresh", "deployable", "integer", "measured"})
    certain: ClassVar[bool] = False

    name: Literal["train"] = Field("train", description="Train the network.")

    def run(self, work: "Work") -> TrialResult | None:
        """End the trial when it was stopped or when no epoch gave usable weights."""
        from sparsemod.pipeline.training_step import train_network

        return train_network(work, epochs=work.epochs, pruner=lambda _: work.pruning(new=True))
