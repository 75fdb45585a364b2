"""Screening of a candidate by its exact costs and the budgets, shared by all sources."""

from sparsemod.errors import BuildError, Unsupported
from sparsemod.records import Candidate
from sparsemod.sources.base import SourceContext
from sparsemod.sources.observation import Suggestion


def screened(context: SourceContext, candidate: Candidate, epochs: int) -> Suggestion:
    """Return the suggestion to train `candidate`, or to record it as a miss.

    A miss breaks a budget or cannot be built.
    """
    try:
        costs = dict(context.costs(candidate.parameters))
    except (BuildError, Unsupported) as error:
        return Suggestion(candidate, epochs, feasible=False, error=str(error))
    over = context.objectives.over_budget(costs)
    return Suggestion(candidate, epochs, costs, not over, over)
