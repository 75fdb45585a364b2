"""The base of pipeline stages and their registry.

A stage is one file: a class with a name and settings, registered in `STAGES`. Sets of words state its
preconditions and postconditions. The built-in stages use these words:

    network     a module to train exists
    fresh       the module has not been trained
    costs       every cost is known from the untrained module, and no budget is broken
    trained     the module holds the weights of its best epoch, at its full sparsity
    deployable  the module is in the form to deploy, on the CPU: pruned filters are gone
    integer     the network whose accuracy counts exists, quantized or not
    measured    error and costs of the finished network are known: the result

A third-party stage may define further words.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from sparsemod.records import TrialResult
from sparsemod.registry import Registry


class Stage(BaseModel):
    """Base of the stages. A subclass declares `name: Literal["..."] = "..."`, settings, words and `run`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    needs: ClassVar[frozenset[str]] = frozenset()
    """Words that must hold before the stage."""

    gives: ClassVar[frozenset[str]] = frozenset()
    """Words that hold after the stage."""

    ends: ClassVar[frozenset[str]] = frozenset()
    """Words that no longer hold after the stage."""

    certain: ClassVar[bool] = True
    """Whether the stage is deterministic, so that an error would recur.

    Training is not deterministic: memory may run out.
    """

    name: str = Field(description="The kind of stage.")
    version: Literal[1] = Field(1, description="Version of this stage's settings.")

    @abstractmethod
    def run(self, work: Any) -> TrialResult | None:
        """Run the stage in a trial (`work`: a `sparsemod.pipeline.work.Work`); a returned result ends the trial.

        Import torch and the pipeline here, not in the module: the server reads specs without them. Raises
        BuildError or Unsupported for an error in the network.
        """

    def applies(self, work: Any) -> bool:
        """Return whether the stage has work in this trial; otherwise it is neither reported nor timed."""
        return True

    def after(self, holds: frozenset[str]) -> frozenset[str]:
        """Return the words that hold after the stage when `holds` hold before it.

        A stage that contains other stages composes them here. Raises InvalidInput.
        """
        return (holds - self.ends) | self.gives


STAGES: Registry[type[Stage]] = Registry(
    "pipeline stage",
    "sparsemod.stages",
    ("sparsemod.pipeline.stages @STAGES",),
)
"""Stages by name."""

DEFAULT = ("build", "screen", "inherit", "train", "prune", "quantize", "measure")
"""The pipeline of a spec without `pipeline`."""

RESULT = "measured"
"""Word that must hold at the end of a pipeline."""
