"""Is it there, and can it work?"""

from fastapi import APIRouter, Request

from service.http.readiness import Readiness
from service.http.routes.common import failures
from service.schemas.trials import Health

router = APIRouter(tags=["service"])


@router.get("/health", summary="Can the service work?", responses=failures())
async def health(request: Request) -> Health:
    """200 when the database takes a write and the disk of the artifacts has room; else 503 with the reason, after a few seconds at most.

    The answer may be a second old.
    """
    readiness: Readiness = request.app.state.readiness
    return await readiness.ask()
