"""Server-sent events: changes as they happen."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse

from service.http.feed import Feed, limited
from service.http.open_streams import StreamPlace
from service.http.routes.common import ExperimentId, failures

router = APIRouter(tags=["experiments"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Server-sent events.",
    }
}
_LAST = r"^[0-9]{1,9}$"
LastSeen = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=_LAST,
        description="Sent by a browser that reconnects; takes precedence over `after`.",
    ),
]
After = Annotated[
    int | None,
    Query(ge=0, le=2**31 - 1, description="Counter of the last known event. Without it, only new events."),
]


@router.get(
    "/experiments/{experiment:number}/stream",
    summary="Follow an experiment",
    response_class=Response,
    responses={**_STREAM, **failures(404, 409)},
)
async def follow_experiment(
    request: Request, experiment: ExperimentId, _: StreamPlace, after: After = None, last: LastSeen = None
) -> EventSourceResponse:
    """Sends the experiment's events as they happen: `event` is the kind, `id` the counter, `data` the same
    as in /events. Each event arrives once and in order, even when servers restart and connections break.
    `reset` means that the experiment never reached the counter, or that retention deleted later events: reload
    everything."""
    feed: Feed = request.app.state.feed
    source = feed.experiment(experiment, after if last is None else int(last))
    first = await anext(source)  # NotFound must be raised here: a started stream cannot answer 404
    return _stream(request, _chained(first, source))


@router.get(
    "/stream",
    summary="Follow all experiments",
    response_class=Response,
    responses={**_STREAM, **failures(409)},
)
async def follow_all(request: Request, _: StreamPlace, after: After = None) -> EventSourceResponse:
    """Sends first `revisions`, a map of all experiments' counters, then `experiment` for each one that
    changed: `{id, revision, state}` or `{id, deleted}`, at most once a second each. It sends current
    states, not their history, so `after` has no effect."""
    feed: Feed = request.app.state.feed
    return _stream(request, feed.everything())


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _stream(request: Request, source: AsyncIterator[bytes]) -> EventSourceResponse:
    compressed = "gzip" in request.headers.get("accept-encoding", "")
    headers = {"cache-control": "no-store", "x-accel-buffering": "no", "vary": "accept-encoding"}
    if compressed:
        headers["content-encoding"] = "gzip"
    return EventSourceResponse(limited(source, compressed=compressed), headers=headers)
