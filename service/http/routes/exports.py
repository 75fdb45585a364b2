"""Exports: the networks of trials as C projects, ONNX and TensorFlow Lite files, each with its check."""

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
    exports: ExportsDep, experiment: ExperimentId, index: TrialIndex, wanted: ExportRequest
) -> list[ExportView]:
    """Begins to write the formats, to check the files against the integer network on validation data, and to make a report card.

    The files become artifacts of the trial; ask for the list until nothing is queued or running. A format that failed says why.
    """
    _check(wanted)
    names = {} if wanted.name is None else {index: wanted.name}
    return exports.start(experiment, [index], wanted.formats, wanted.device, names)


@router.get(
    "/experiments/{experiment:number}/trials/{index:index}/exports",
    summary="A trial's exports",
    responses=failures(404),
)
def list_trial_exports(exports: ExportsDep, experiment: ExperimentId, index: TrialIndex) -> list[ExportView]:
    """What was exported, with reports and files, and what is on its way."""
    return exports.listed(experiment, index)


@router.get(
    "/experiments/{experiment:number}/exports", summary="An experiment's exports", responses=failures(404)
)
def list_exports(
    exports: ExportsDep,
    experiment: ExperimentId,
    after: Annotated[int, Query(ge=-1, lt=10**9, description="Index of the last trial that is known.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000, description="Of how many trials at most.")] = 100,
) -> list[ExportView]:
    """The exports of its trials, by index, of at most `limit` trials. Those of further trials: ask again with `after`."""
    return exports.page(experiment, after, limit)


@router.post(
    "/pareto/{experiment:number}/exports",
    status_code=202,
    summary="Export the Pareto front",
    responses=failures(400, 404, 409, 413),
)
def export_front(
    store: StoreDep, exports: ExportsDep, experiment: ExperimentId, wanted: ExportRequest
) -> list[ExportView]:
    """The same for every point of the front, one after the other."""
    _check(wanted)
    indices = [point.index for point in store.pareto(experiment).points]
    if not indices:
        raise Conflict("the front is empty: no trial within the budgets has completed yet")
    names = {} if wanted.name is None else {index: model_name(wanted.name, index) for index in indices}
    return exports.start(experiment, indices, wanted.formats, wanted.device, names)


def _check(wanted: ExportRequest) -> None:
    if wanted.device is not None:
        device(wanted.device, field="device")
    if wanted.name is not None:
        checked_name(wanted.name)
