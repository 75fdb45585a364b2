"""The base of pipeline stages and their registry.

A stage is one file: a class with a name and settings, registered in `STAGES`. It states as sets of words what must hold before it and what holds
after it. The built-in stages use these words:

    network     there is a module to train
    fresh       it has not been trained
    costs       every cost is known from the untrained module, and no budget is broken
    trained     the module holds the weights of its best epoch, at its full sparsity
    deployable  the module is in the form to deploy, on the CPU: pruned filters are gone
    integer     there is the network whose accuracy counts, quantized or not
    measured    error and costs of the finished network are known: the result

A stage from elsewhere may use words of its own.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from sparsemod.records import TrialResult
from sparsemod.registry import Registry


class Stage(BaseModel):
    """Base of the stages. A subclass declares `name: Literal["..."] = "..."`, its own settings, its words and `run`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    needs: ClassVar[frozenset[str]] = frozenset()
    """What must hold before it."""

    gives: ClassVar[frozenset[str]] = frozenset()
    """What it guarantees after it."""

    ends: ClassVar[frozenset[str]] = frozenset()
    """What no longer holds after it."""

    certain: ClassVar[bool] = True
    """Whether it computes the same each time, so that an error in it would come again. Training is not: memory may run out."""

    name: str = Field(description="The kind of stage.")
    version: Literal[1] = Field(1, description="Version of this stage's settings.")

    @abstractmethod
    def run(self, work: Any) -> TrialResult | None:
        """Do the stage's part of a trial (`work`: a `sparsemod.pipeline.work.Work`); a result ends the trial here.

        Torch and the pipeline are imported here, not with the module: the server reads specs without them. Raises what is wrong with the
        network: BuildError, Unsupported.
        """

    def applies(self, work: Any) -> bool:
        """Whether it has anything to do in this trial; one that has not is neither announced nor timed."""
        return True

    def after(self, holds: frozenset[str]) -> frozenset[str]:
        """What holds after it where `holds` held before. A stage made of others composes them here. Raises InvalidInput."""
        return (holds - self.ends) | self.gives


STAGES: Registry[type[Stage]] = Registry(
    "pipeline stage",
    "sparsemod.stages",
    tuple(
        f"sparsemod.pipeline.stages.{name}"
        for name in ("build", "screen", "inherit", "train", "prune", "quantize", "measure")
    ),
)
"""Stages by name."""

DEFAULT = ("build", "screen", "inherit", "train", "prune", "quantize", "measure")
"""The pipeline of a spec that names none."""

RESULT = "measured"
"""What a whole pipeline must guarantee at its end."""
