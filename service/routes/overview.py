"""Two pages for people: the experiments at `/`, the API at `/docs`. Neither loads anything from another server."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)

PAGES = Path(__file__).parent.parent / "static"

_HEADERS = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


@router.get("/")
def overview() -> FileResponse:
    """All experiments with their fronts."""
    return FileResponse(PAGES / "overview.html", headers=_HEADERS)


@router.get("/docs")
def docs() -> FileResponse:
    """The endpoints, read from /openapi.json."""
    return FileResponse(PAGES / "api.html", headers=_HEADERS)
