"""Which worker had which trial, and when."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.http.routes.common import ExperimentId, StoreDep, failures
from service.schemas.dashboard import Timeline

router = APIRouter(tags=["trials"])


@router.get(
    "/experiments/{experiment:number}/timeline", summary="Timeline of workers", responses=failures(404)
)
def show_timeline(
    store: StoreDep,
    experiment: ExperimentId,
    since: Annotated[
        float,
        Query(
            ge=0,
            le=1e11,
            description="Seconds since 1970: only attempts that ran after it.",
            allow_inf_nan=False,
        ),
    ] = 0.0,
) -> Timeline:
    """The attempts at its trials, a column each, in the order of their start."""
    return store.timeline(experiment, since)
