"""Costs before training: a trial with a candidate over a budget ends here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.records import Measurement, TrialResult, TrialState
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
        from sparsemod.pipeline.substituted import comparison, has_substitutes
        from sparsemod.substitutes.substitution import dense

        work.planned = planned_costs(work.problem, work.values, work.network())
        if has_substitutes(work.network()):
            full = planned_costs(work.problem, work.values, dense(work.network()))
            work.notes.append(comparison(_values(work.planned), _values(full)))
        over = work.problem.objectives.over_budget(_values(work.planned))
        if not over:
            return None
        work.notes += [over_budget(name, excess) for name, excess in over.items()]
        return work.result(TrialState.INFEASIBLE, work.planned.values())


def _values(costs: Mapping[str, Measurement]) -> dict[str, float]:
    return {name: measurement.value for name, measurement in costs.items()}
