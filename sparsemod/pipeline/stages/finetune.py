"""Fine-tuning with fake quantization."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.records import TrialResult
from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("finetune")
class FineTune(Stage):
    """Train the pruned network further with int8 rounding of weights and inputs; keep what lowers the error.

    Pruned weights stay zero. The gain, the error of the quantized network before and after, is a measurement. It
    needs `prune` before and `quantize` after it. The parameter `finetune_epochs` of a space replaces `epochs`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"deployable"})
    gives: ClassVar[frozenset[str]] = frozenset({"deployable"})
    ends: ClassVar[frozenset[str]] = frozenset({"integer", "measured"})
    certain: ClassVar[bool] = False

    name: Literal["finetune"] = Field("finetune", description="Fine-tune with fake quantization.")
    epochs: int = Field(2, ge=0, le=10_000, description="Epochs; 0 leaves the network as it is.")
    learning_rate: float = Field(
        0.1, gt=0, le=1, description="Initial learning rate, as a share of that of the training."
    )

    def applies(self, work: "Work") -> bool:
        """See Stage."""
        return self._epochs(work) > 0

    def run(self, work: "Work") -> TrialResult | None:
        """End the trial when it was stopped or when no epoch gave usable weights."""
        from sparsemod.pipeline.finetuning import fine_tune

        return fine_tune(work, self._epochs(work), self.learning_rate)

    def _epochs(self, work: "Work") -> int:
        return int(work.values.get("finetune_epochs", self.epochs))
