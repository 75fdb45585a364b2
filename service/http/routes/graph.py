"""The network of a trial, layer by layer."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from service.http.routes.common import ExperimentId, StoreDep, TrialIndex, failures
from service.jobs.computed_views import Computed
from service.schemas.dashboard import Computing, TrialGraph
from sparsemod.files import fingerprint

router = APIRouter(tags=["trials"])


@router.get(
    "/experiments/{experiment:number}/trials/{index:index}/graph",
    summary="Show a trial's network",
    response_model=TrialGraph,
    responses={
        202: {"model": Computing, "description": "The answer is being computed."},
        **failures(400, 404),
    },
)
def show_graph(
    request: Request, store: StoreDep, experiment: ExperimentId, index: TrialIndex
) -> TrialGraph | Response:
    """Returns the operators as deployed, each with parameters, multiply-adds and memory, and the tensors
    alive in memory during an inference. A separate process rebuilds the network from the trial's
    parameters, which takes some seconds; later requests get the stored result."""
    computed: Computed = request.app.state.computed
    parameters = store.trial(experiment, index).candidate.parameters
    spec = store.experiment(experiment).spec.to_dict()
    relevant = {name: spec[name] for name in ("network", "dataset", "pruning", "quantization", "space")}
    key = fingerprint(json.dumps([relevant, parameters], sort_keys=True))

    def task() -> dict[str, Any]:
        return {"spec": spec, "parameters": parameters}

    graph = computed.ask(experiment, "graph", key, task)
    if graph is None:
        return JSONResponse(Computing().model_dump(), 202, {"retry-after": "1"})
    return TrialGraph(experiment=experiment, trial=index, **graph)
