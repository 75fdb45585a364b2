"""All trials of an experiment as columns, for plots; what changed since, for plots that are drawn already."""

import gzip
from collections import OrderedDict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.routes.common import ExperimentId, StoreDep, failures
from service.schemas.dashboard import Points

router = APIRouter(tags=["trials"])

WORTH_PACKING = 4096
"""Bytes from which an answer is compressed for who can read that."""


KEPT = 8
"""Experiments whose last answer is kept, compressed."""

JSON = "application/json"


@router.get(
    "/experiments/{experiment:number}/points",
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
    headers = {"vary": "accept-encoding", "cache-control": "no-cache"}
    packed = "gzip" in request.headers.get("accept-encoding", "")
    kept: OrderedDict[int, tuple[int, bytes]] = request.app.state.points
    if after == 0 and packed:
        # A plot that is drawn anew asks for what was asked for before, as long as nothing has happened.
        known = kept.get(experiment)
        now = store.revisions([experiment]).get(experiment)
        if known is not None and now is not None and known[0] == now.revision:
            return Response(known[1], media_type=JSON, headers={**headers, "content-encoding": "gzip"})
    points = store.points_since(experiment, after)
    content = points.model_dump_json().encode()
    if len(content) >= WORTH_PACKING and packed:
        content, headers["content-encoding"] = gzip.compress(content, 1), "gzip"
        if after == 0:
            kept[experiment] = (points.revision, content)
            while len(kept) > KEPT:
                kept.popitem(last=False)
    return Response(content, media_type=JSON, headers=headers)
