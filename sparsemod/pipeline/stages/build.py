"""Build the network from the candidate's parameters."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("build")
class Build(Stage):
    """Build a module with fresh weights from the candidate's parameters."""

    gives: ClassVar[frozenset[str]] = frozenset({"network", "fresh"})
    ends: ClassVar[frozenset[str]] = frozenset({"costs", "trained", "deployable", "integer", "measured"})

    name: Literal["build"] = Field("build", description="Make the network.")

    def run(self, work: "Work") -> None:
        """Build the network. Raises BuildError."""
        from sparsemod.pipeline.screening import build

        work.module = build(work.problem, work.values, work.seed)
