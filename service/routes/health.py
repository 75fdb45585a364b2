"""Is it there?"""

from typing import Literal, cast

from fastapi import APIRouter

from service.routes.common import StoreDep, failures
from service.schemas import Health
from sparsemod import __version__

router = APIRouter(tags=["service"])


@router.get("/health", summary="Is the service there?", responses=failures())
def health(store: StoreDep) -> Health:
    """Asks the database, too."""
    version = store.check()
    backend = cast(Literal["sqlite", "postgresql"], store.backend)
    pauses = tuple(store.pauses())
    return Health(status="ok", version=__version__, database=backend, schema_version=version, pauses=pauses)
