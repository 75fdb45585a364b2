"""Metrics and the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.http.metrics import Metrics
from service.http.routes.common import Limit, StoreDep, failures
from service.schemas.audit import AuditEntry

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."},
        **failures(),
    },
)  # fmt: skip
def metrics(request: Request) -> Response:
    """Returns the figures of the database and the disk, and those of the requests to this server process.
    Several servers on one database are scraped one by one."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/audit", summary="Show who changed what", responses=failures())
def show_audit(
    store: StoreDep,
    experiment: Annotated[
        int | None, Query(ge=1, lt=10**15, description="Only changes of this experiment.")
    ] = None,
    before: Annotated[
        int | None, Query(ge=1, lt=10**15, description="Only entries with a smaller id, for the next page.")
    ] = None,
    limit: Limit = 100,
) -> list[AuditEntry]:
    """Returns the changes that people made, newest first: experiments, exports, workers, tokens. Reports of workers
    are in the events of their experiment."""
    return store.audit_trail(experiment, before, limit)
