"""All trials of an experiment as columns, for plots; also only the changes since a revision, to update a plot."""

import gzip
from collections import OrderedDict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.routes.common import ExperimentId, StoreDep, failures
from service.schemas.dashboard import Points

router = APIRouter(tags=["trials"])

WORTH_PACKING = 4096
"""Size in bytes from which an answer is compressed for clients that accept gzip."""

KEPT = 8
"""Number of experiments whose last answer is cached, compressed."""

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
        Query(
            ge=0, le=2**31 - 1, description="Last known revision: return only trials that changed after it."
        ),
    ] = 0,
) -> Response:
    """Returns every trial with its parameters and values as columns; thousands of trials fit in one short answer."""
    headers = {"vary": "accept-encoding", "cache-control": "no-cache"}
    packed = "gzip" in request.headers.get("accept-encoding", "")
    cache: OrderedDict[int, tuple[int, bytes]] = request.app.state.points
    if after == 0 and packed:
        # A redrawn plot repeats the previous request as long as nothing has changed.
        cached = cache.get(experiment)
        now = store.revisions([experiment]).get(experiment)
        if cached is not None and now is not None and cached[0] == now.revision:
            return Response(cached[1], media_type=JSON, headers={**headers, "content-encoding": "gzip"})
    points = store.points_since(experiment, after)
    content = points.model_dump_json().encode()
    if len(content) >= WORTH_PACKING and packed:
        content, headers["content-encoding"] = gzip.compress(content, 1), "gzip"
        if after == 0:
            cache[experiment] = (points.revision, content)
            while len(cache) > KEPT:
                cache.popitem(last=False)
    return Response(content, media_type=JSON, headers=headers)
