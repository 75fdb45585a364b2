"""Costs before training: a trial with a candidate over a budget ends here."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.records import TrialResult, TrialState
from sparsemod.stages.base import STAGES, Stage
from sparsemod.units import over_budget

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("screen")
class Screening(Stage):
    """Compute every cost of the untrained network; a candidate over a budget is infeasible and ends here."""

    needs: ClassVar[frozenset[str]] = frozenset({"network", "fresh"})
    gives: ClassVar[frozenset[str]] = frozenset({"costs"})

    name: Literal["screen"] = Field(
        "screen", description="Compute the costs and compare them with the budgets."
    )

    def run(self, work: "Work") -> TrialResult | None:
        """Compute the costs and check the budgets. Raises BuildError, Unsupported."""
        from sparsemod.pipeline.screening import planned_costs

        work.planned = planned_costs(work.problem, work.values, work.network())
        over = work.problem.objectives.over_budget({name: m.value for name, m in work.planned.items()})
        if not over:
            return None
        work.notes += [over_budget(name, excess) for name, excess in over.items()]
        return work.result(TrialState.INFEASIBLE, work.planned.values())
