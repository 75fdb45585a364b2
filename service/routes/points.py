"""All trials of an experiment as columns, for plots; what changed since, for plots that are drawn already."""

import gzip
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.routes.common import ExperimentId, StoreDep, failures
from service.schemas_dashboard import Points

router = APIRouter(tags=["trials"])

WORTH_PACKING = 4096
"""Bytes from which an answer is compressed for who can read that."""


@router.get(
    "/experiments/{experiment}/points",
    summary="Trials as columns",
    response_model=Points,
    responses=failures(404),
)
def list_points(
    request: Request,
    store: StoreDep,
    experiment: ExperimentId,
    after: Annotated[
        int,
        Query(ge=0, le=2**31 - 1, description="Revision that is known: only trials that changed after it."),
    ] = 0,
) -> Response:
    """Every trial with its parameters and values, a column each; thousands of trials are one short answer."""
    content = store.points_since(experiment, after).model_dump_json().encode()
    headers = {"vary": "accept-encoding", "cache-control": "no-cache"}
    if len(content) >= WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["content-encoding"] = gzip.compress(content, 1), "gzip"
    return Response(content, media_type="application/json", headers=headers)
