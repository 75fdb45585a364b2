"""How much each parameter matters."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from service.http.routes.common import ExperimentId, StoreDep, failures
from service.jobs.computed_views import Computed, importance_task
from service.schemas.dashboard import Computing, Importance
from sparsemod.records import TrialState

router = APIRouter(tags=["results"])


@router.get(
    "/experiments/{experiment:number}/importance",
    summary="Importance of parameters",
    response_model=Importance,
    responses={202: {"model": Computing, "description": "It is being computed."}, **failures(400, 404)},
)
def show_importance(request: Request, store: StoreDep, experiment: ExperimentId) -> Importance | Response:
    """Total Sobol' indices by metric and parameter, from a model of the trials. Computed in a process of its own, which takes some seconds;
    until there is a newer one, the last answer is given, with `current` false."""
    computed: Computed = request.app.state.computed
    view = store.experiment(experiment)
    completed = view.counts.get(TrialState.COMPLETED, 0)
    # What trials that are over say never changes: their number stands for all of it.
    key = f"{completed}/{view.counts.get(TrialState.INFEASIBLE, 0)}"

    def task() -> dict[str, Any]:
        return importance_task(store, experiment)

    found = computed.ask(experiment, "importance", key, task)
    if found is not None:
        return _view(experiment, view.revision, True, found)
    earlier = store.derived(experiment, "importance")
    if earlier is not None:
        return _view(experiment, view.revision, False, earlier[1])
    return JSONResponse(Computing().model_dump(), 202, {"retry-after": "1"})


def _view(experiment: int, revision: int, current: bool, content: dict[str, Any]) -> Importance:
    unexplained = tuple(name for name in content["metrics"] if content["accuracy"][name] <= 0.0)
    return Importance(
        experiment=experiment, revision=revision, current=current, unexplained=unexplained, **content
    )
