"""Repetitions: trials of equal parameters and different seeds."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from service.http.routes.common import ExperimentId, Limit, Offset, StoreDep, failures
from service.schemas.dashboard import RepetitionsView
from service.schemas.trials import Page
from sparsemod.records import TrialState
from sparsemod.report.repetitions import repetitions, repetitions_csv

router = APIRouter(tags=["results"])


@router.get(
    "/experiments/{experiment:number}/repetitions",
    summary="Mean and spread over repetitions",
    response_model=Page[RepetitionsView],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **failures(404)},
)
def list_repetitions(
    store: StoreDep,
    experiment: ExperimentId,
    limit: Limit = 100,
    offset: Offset = 0,
    format: Annotated[
        Literal["json", "csv"], Query(description="CSV holds all of them, not a page.")
    ] = "json",
) -> Page[RepetitionsView] | Response:
    """The candidates that were completed more than once, in the order of their first trial."""
    indices = store.trial_indices(experiment, state=TrialState.COMPLETED)
    rows = store.trials_at(experiment, indices)
    if format == "csv":
        headers = {"content-disposition": f'attachment; filename="experiment-{experiment}-repetitions.csv"'}
        return Response(repetitions_csv(rows), media_type="text/csv", headers=headers)
    groups = repetitions(rows)
    items = tuple(RepetitionsView.model_validate(asdict(group)) for group in groups[offset : offset + limit])
    return Page[RepetitionsView](items=items, total=len(groups))
