"""Pages for people: the dashboard at `/`, the API at `/docs`. Neither loads anything from another server."""

import base64
import functools
import gzip
import hashlib
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from service.http.pools import Pool
from sparsemod.errors import NotFound

router = APIRouter(include_in_schema=False)

PAGES = Path(__file__).parent.parent / "static"
DASHBOARD = Path(__file__).parents[2] / "dashboard"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served from the dashboard's folder; other files there are not."""

_FOR_EVER = "public, max-age=31536000, immutable"
_INLINE = re.compile(rb"<script(?: type=\"importmap\")?>(.*?)</script>", re.DOTALL)

Encodings = Annotated[str, Header(alias="accept-encoding")]
Known = Annotated[str, Header(alias="if-none-match")]


@functools.cache
def _files() -> frozenset[str]:
    """Names that may be asked for: a list, so that no name can lead out of the folder."""
    return frozenset(
        str(path.relative_to(DASHBOARD))
        for path in DASHBOARD.rglob("*")
        if path.suffix in TYPES and path.is_file()
    )


@functools.lru_cache(maxsize=256)
def _content(name: str, changed: int) -> tuple[bytes, bytes, str]:
    """A file, the same compressed, its digest. `changed` is part of the key, so that an edited file is read again."""
    content = (DASHBOARD / name).read_bytes()
    return content, gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest()[:32]


def _policy(page: bytes) -> str:
    """Scripts of ours only, and the one that stands in the page. ECharts sets styles on its tooltips."""
    found = _INLINE.search(page)
    digest = base64.b64encode(hashlib.sha256(found.group(1) if found else b"").digest()).decode()
    return (
        f"default-src 'self'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def _serve(name: str, encodings: str, known: str) -> Response:
    content, compressed, digest = _content(name, (DASHBOARD / name).stat().st_mtime_ns)
    headers = {
        "x-content-type-options": "nosniff",
        "etag": f'"{digest}"',
        "vary": "accept-encoding",
        # Names of vendored files hold their version.
        "cache-control": _FOR_EVER if name.startswith("vendor/") else "no-cache",
    }
    suffix = Path(name).suffix
    if suffix == ".html":
        headers |= {"content-security-policy": _policy(content), "referrer-policy": "no-referrer"}
    if digest in known:
        return Response(status_code=304, headers=headers)
    if "gzip" in encodings:
        return Response(compressed, media_type=TYPES[suffix], headers={**headers, "content-encoding": "gzip"})
    return Response(content, media_type=TYPES[suffix], headers=headers)


# The page has threads of its own: it must come up when all requests for data wait.
_POOL = Pool("requests for the page", 4)


@router.get("/")
async def dashboard(encodings: Encodings = "", known: Known = "") -> Response:
    """The dashboard."""
    return await _POOL.run(_serve, "index.html", encodings, known)


@router.get("/dashboard/{name:path}")
async def dashboard_file(name: str, encodings: Encodings = "", known: Known = "") -> Response:
    """A module or a style of the dashboard. Raises NotFound."""
    if name not in _files():
        raise NotFound("page", name)
    return await _POOL.run(_serve, name, encodings, known)


@router.get("/docs")
async def docs() -> Response:
    """The endpoints, read from /openapi.json."""
    content = await _POOL.run((PAGES / "api.html").read_bytes)
    headers = {
        "content-security-policy": _policy(content),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }
    return Response(content, media_type=TYPES[".html"], headers=headers)
