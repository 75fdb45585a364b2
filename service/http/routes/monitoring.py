"""Metrics, the audit trail, quotas."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.errors import Forbidden
from service.http.metrics import Metrics
from service.http.open_streams import OpenStreams
from service.http.routes.common import Limit, LoginDep, StoreDep, failures
from service.schemas.audit import AuditEntry
from service.schemas.logins import Scope
from service.schemas.quotas import QuotaName, QuotaUse, QuotaView

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
    """Returns the changes that people made, newest first: experiments, models, exports, webhooks, workers, tokens. Reports of workers
    are in the events of their experiment."""
    return store.audit_trail(experiment, before, limit)


_UNITS: dict[QuotaName, str] = {
    "disk": "B", "uploads": "models", "experiments": "experiments", "streams": "streams",
}  # fmt: skip


@router.get("/quota", summary="Show your quotas", responses=failures())
def show_quota(
    request: Request,
    store: StoreDep,
    login: LoginDep,
    owner: Annotated[
        str | None,
        Query(
            min_length=1, max_length=200, pattern=r"^[^\x00]+$",
            description="Another owner's quotas; needs the scope admin.",
        ),
    ] = None,
) -> QuotaView:  # fmt: skip
    """Returns what your login's owner uses of each quota. `streams` counts those of this server process."""
    mine = None if login is None else login.owner
    if owner is not None and login is not None and owner != mine and Scope.ADMIN not in login.scopes:
        raise Forbidden(f"the quotas of {owner} are visible to {owner} and to the scope admin")
    whose = mine if owner is None else owner
    streams: OpenStreams = request.app.state.open_streams
    used: dict[QuotaName, int] = {**store.quota_use(whose), "streams": streams.used(whose)}
    quotas = tuple(
        QuotaUse(quota=name, used=count, limit=getattr(store.quotas, name) or None, unit=_UNITS[name])
        for name, count in used.items()
    )
    return QuotaView(owner=whose, quotas=quotas)
