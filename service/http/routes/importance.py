"""The importance of each parameter."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from service.http.routes.common import ExperimentId, StoreDep, failures
from service.jobs.computed_views import Computed, experiment_task
from service.schemas.dashboard import Computing, Importance
from sparsemod.records import TrialState

router = APIRouter(tags=["results"])


@router.get(
    "/experiments/{experiment:number}/importance",
    summary="Show the importance of parameters",
    response_model=Importance,
    responses={
        202: {"model": Computing, "description": "The answer is being computed."},
        **failures(400, 404),
    },
)
def show_importance(request: Request, store: StoreDep, experiment: ExperimentId) -> Importance | Response:
    """Returns total Sobol' indices by metric and parameter, from a model of the trials. A separate process
    computes them, which takes some seconds; meanwhile the server returns the previous answer, with
    `current` false."""
    computed: Computed = request.app.state.computed
    view = store.experiment(experiment)
    completed = view.counts.get(TrialState.COMPLETED, 0)
    # Results of finished trials never change, so their number identifies them.
    key = f"{completed}/{view.counts.get(TrialState.INFEASIBLE, 0)}"

    def task() -> dict[str, Any]:
        return experiment_task(store, experiment)

    indices = computed.ask(experiment, "importance", key, task)
    if indices is not None:
        return _view(experiment, view.revision, True, indices)
    earlier = store.computed_view(experiment, "importance")
    if earlier is not None:
        return _view(experiment, view.revision, False, earlier[1])
    return JSONResponse(Computing().model_dump(), 202, {"retry-after": "1"})


def _view(experiment: int, revision: int, current: bool, content: dict[str, Any]) -> Importance:
    unexplained = tuple(name for name in content["metrics"] if content["accuracy"][name] <= 0.0)
    return Importance(
        experiment=experiment, revision=revision, current=current, unexplained=unexplained, **content
    )
