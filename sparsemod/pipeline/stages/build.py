"""Build the network from the candidate's parameters."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("build")
class Build(Stage):
    """Build a module from the candidate's parameters, with fresh weights or, without a parent, those of `training.initial`."""

    gives: ClassVar[frozenset[str]] = frozenset({"network", "fresh"})
    ends: ClassVar[frozenset[str]] = frozenset({"costs", "trained", "deployable", "integer", "measured"})

    name: Literal["build"] = Field("build", description="Make the network.")

    def run(self, work: "Work") -> None:
        """Build the network. Raises BuildError, and the errors of `stored_weights` and `load_into`."""
        from sparsemod.pipeline.screening import build
        from sparsemod.pipeline.stored_weights import load_into, stored_weights

        work.module = build(work.problem, work.values, work.seed)
        initial = work.problem.training(work.values).initial
        if initial is not None and work.parent is None:
            field = "training.initial"
            load_into(work.module, stored_weights(initial, field), field, initial)
            work.notes.append(f"the training starts from {initial}")
