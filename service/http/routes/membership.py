"""The front over seeds: each candidate's mean and its probability of being on the front."""

from dataclasses import asdict

from fastapi import APIRouter

from service.http.routes.common import ExperimentId, Limit, Offset, StoreDep, failures
from service.schemas.dashboard import FrontMemberView
from service.schemas.trials import Page
from sparsemod.objectives import Objectives
from sparsemod.records import TrialState
from sparsemod.report.membership import front_members

router = APIRouter(tags=["results"])


@router.get(
    "/experiments/{experiment:number}/membership",
    summary="The front over seeds",
    response_model=Page[FrontMemberView],
    responses=failures(404),
)
def list_members(
    store: StoreDep, experiment: ExperimentId, limit: Limit = 100, offset: Offset = 0
) -> Page[FrontMemberView]:
    """The candidates that are on the front with a probability of at least 0.05, by their first objective.

    A candidate's error is uncertain: trainings with other seeds differ. The probability follows from the spread of
    repeated trainings and from the standard errors of the evaluations. More trials in the round `repeats` narrow it.
    """
    view = store.experiment(experiment)
    rows = store.trials_at(experiment, store.trial_indices(experiment, state=TrialState.COMPLETED))
    objectives = Objectives(view.objectives, view.reference_point, view.budgets, view.scales)
    members = front_members(objectives, rows)
    items = tuple(FrontMemberView.model_validate(asdict(one)) for one in members[offset : offset + limit])
    return Page[FrontMemberView](items=items, total=len(members))
