"""Whether the server is ready."""

from fastapi import APIRouter, Request

from service.http.readiness import Readiness
from service.http.routes.common import failures
from service.schemas.trials import Health

router = APIRouter(tags=["service"])


@router.get("/health", summary="Check the service's health", responses=failures())
async def health(request: Request) -> Health:
    """Answers 200 when the database accepts a write and the artifacts' disk has space; otherwise 503 with the
    reason, within a few seconds.

    The answer may be a second old.
    """
    readiness: Readiness = request.app.state.readiness
    return await readiness.ask()
