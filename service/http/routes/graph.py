"""The network of a trial, layer by layer."""

import hashlib
import json
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from service.http.routes.common import ExperimentId, StoreDep, TrialIndex, failures
from service.jobs.computed_views import Computed
from service.schemas.dashboard import Computing, TrialGraph

router = APIRouter(tags=["trials"])


@router.get(
    "/experiments/{experiment:number}/trials/{index:index}/graph",
    summary="A trial's network",
    response_model=TrialGraph,
    responses={202: {"model": Computing, "description": "It is being computed."}, **failures(400, 404)},
)
def show_graph(
    request: Request, store: StoreDep, experiment: ExperimentId, index: TrialIndex
) -> TrialGraph | Response:
    """Its operators as deployed, each with parameters, multiply-adds and memory, and what is alive in memory over an inference. The network is
    built again from the trial's parameters in a process of its own; the first time takes some seconds, then it is known."""
    computed: Computed = request.app.state.computed
    parameters = store.trial(experiment, index).candidate.parameters
    spec = store.experiment(experiment).spec.to_dict()
    named = {name: spec[name] for name in ("network", "dataset", "pruning", "quantization", "space")}
    key = hashlib.sha256(json.dumps([named, parameters], sort_keys=True).encode()).hexdigest()

    def task() -> dict[str, Any]:
        return {"spec": spec, "parameters": parameters}

    found = computed.ask(experiment, "graph", key, task)
    if found is None:
        return JSONResponse(Computing().model_dump(), 202, {"retry-after": "1"})
    return TrialGraph(experiment=experiment, trial=index, **found)
