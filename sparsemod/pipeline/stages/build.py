"""Parameters become a network."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("build")
class Build(Stage):
    """The family turns the candidate's parameters into a module with fresh weights."""

    gives: ClassVar[frozenset[str]] = frozenset({"network", "fresh"})
    ends: ClassVar[frozenset[str]] = frozenset({"costs", "trained", "deployable", "integer", "measured"})

    name: Literal["build"] = Field("build", description="Make the network.")

    def run(self, work: "Work") -> None:
        """Raises BuildError."""
        from sparsemod.pipeline.screening import build

        work.module = build(work.problem, work.values, work.seed)
