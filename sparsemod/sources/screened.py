"""A candidate with its exact costs, judged by the budgets: what every source does before it suggests one."""

from sparsemod.errors import BuildError, Unsupported
from sparsemod.records import Candidate
from sparsemod.sources.base import SourceContext
from sparsemod.sources.observation import Suggestion


def screened(context: SourceContext, candidate: Candidate, epochs: int) -> Suggestion:
    """The suggestion to train `candidate`, or to record why it cannot be: a budget that it breaks, or a network that cannot be built."""
    try:
        costs = dict(context.costs(candidate.parameters))
    except (BuildError, Unsupported) as error:
        return Suggestion(candidate, epochs, feasible=False, error=str(error))
    over = context.objectives.over_budget(costs)
    return Suggestion(candidate, epochs, costs, not over, over)
