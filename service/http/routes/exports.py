"""Exports: trials' networks as C projects, ONNX and TensorFlow Lite files, each checked against the integer network."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from service.http.routes.common import ExperimentId, StoreDep, TrialIndex, failures
from service.jobs.exports import Exports
from service.schemas.exports import ExportRequest, ExportView
from sparsemod.errors import Conflict
from sparsemod.export.names import checked_name, model_name
from sparsemod.targets import device

router = APIRouter(tags=["exports"])


async def _exports(request: Request) -> Exports:
    exports: Exports = request.app.state.exports
    return exports


ExportsDep = Annotated[Exports, Depends(_exports)]


@router.post(
    "/experiments/{experiment:number}/trials/{index:index}/exports",
    status_code=202,
    summary="Export a trial's network",
    responses=failures(400, 404, 409, 413),
)
def export_trial(
    exports: ExportsDep, experiment: ExperimentId, index: TrialIndex, body: ExportRequest
) -> list[ExportView]:
    """Starts an export: write the formats, check the files against the integer network on validation data,
    and write a report card.

    The files become artifacts of the trial. Poll the list until no export is queued or running. A failed format
    gives the reason.
    """
    _check(body)
    names = {} if body.name is None else {index: body.name}
    return exports.start(experiment, [index], body.formats, body.device, names)


@router.get(
    "/experiments/{experiment:number}/trials/{index:index}/exports",
    summary="List a trial's exports",
    responses=failures(404),
)
def list_trial_exports(exports: ExportsDep, experiment: ExperimentId, index: TrialIndex) -> list[ExportView]:
    """Lists finished exports, with reports and files, and pending ones."""
    return exports.listed(experiment, index)


@router.get(
    "/experiments/{experiment:number}/exports",
    summary="List an experiment's exports",
    responses=failures(404),
)
def list_exports(
    exports: ExportsDep,
    experiment: ExperimentId,
    after: Annotated[int, Query(ge=-1, lt=10**9, description="Index of the last known trial.")] = -1,
    limit: Annotated[
        int, Query(ge=1, le=1000, description="Return the exports of at most this many trials.")
    ] = 100,
) -> list[ExportView]:
    """Lists the exports of at most `limit` trials, by index. Repeat with `after` for further trials."""
    return exports.page(experiment, after, limit)


@router.post(
    "/pareto/{experiment:number}/exports",
    status_code=202,
    summary="Export the Pareto front",
    responses=failures(400, 404, 409, 413),
)
def export_front(
    store: StoreDep, exports: ExportsDep, experiment: ExperimentId, body: ExportRequest
) -> list[ExportView]:
    """Exports every point of the front, one after the other, as for a single trial."""
    _check(body)
    indices = [point.index for point in store.pareto(experiment).points]
    if not indices:
        raise Conflict("the front is empty: no trial within the budgets has completed yet")
    names = {} if body.name is None else {index: model_name(body.name, index) for index in indices}
    return exports.start(experiment, indices, body.formats, body.device, names)


def _check(body: ExportRequest) -> None:
    if body.device is not None:
        device(body.device, field="device")
    if body.name is not None:
        checked_name(body.name)
