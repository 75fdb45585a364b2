"""The Pareto front."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from service.http.routes.common import ExperimentId, StoreDep, failures
from service.schemas.exports import PointDevices
from service.schemas.trials import ParetoView
from sparsemod.report.results import trials_csv
from sparsemod.targets import device_fits

router = APIRouter(tags=["results"])


@router.get(
    "/pareto/{experiment:number}",
    summary="Show the Pareto front",
    response_model=ParetoView,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **failures(404)},
)
def show_pareto(
    store: StoreDep,
    experiment: ExperimentId,
    format: Annotated[Literal["json", "csv"], Query(description="CSV contains only the points.")] = "json",
) -> ParetoView | Response:
    """Returns the completed trials that meet the budgets and that no other trial dominates, with
    parameters, measurements and their provenance, lineage and files; also the hypervolume against the
    fixed reference point, and its history."""
    if format == "csv":
        indices = [point.index for point in store.pareto(experiment).points]
        rows = store.trials_at(experiment, indices)
        headers = {"content-disposition": f'attachment; filename="experiment-{experiment}-pareto.csv"'}
        return Response(trials_csv(rows), media_type="text/csv", headers=headers)
    return store.pareto(experiment)


@router.get(
    "/pareto/{experiment:number}/devices",
    summary="Show which devices each Pareto point fits",
    responses=failures(404),
)
def show_devices(store: StoreDep, experiment: ExperimentId) -> tuple[PointDevices, ...]:
    """Compares every point of the front with every device that the server knows:
    bytes needed and available, estimated time, what does not fit."""
    points = store.pareto(experiment).points
    return tuple(PointDevices(trial=point.index, devices=device_fits(point.measurements)) for point in points)
