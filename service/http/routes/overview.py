"""Pages for people: the dashboard at `/`, the API at `/docs`. Neither loads anything from another server."""

import base64
import functools
import gzip
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from service.http.pools import RequestPool
from sparsemod.errors import NotFound
from sparsemod.files import fingerprint

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
"""Suffixes of the files that are served from the dashboard's folder -> media type."""

_FOR_EVER = "public, max-age=31536000, immutable"
_INLINE = re.compile(rb"<script(?: type=\"importmap\")?>(.*?)</script>", re.DOTALL)

Encodings = Annotated[str, Header(alias="accept-encoding")]
Known = Annotated[str, Header(alias="if-none-match")]


@functools.cache
def _files() -> frozenset[str]:
    """Return the names that may be requested: a fixed set, so that no name leads out of the folder."""
    return frozenset(
        str(path.relative_to(DASHBOARD))
        for path in DASHBOARD.rglob("*")
        if path.suffix in TYPES and path.is_file()
    )


@functools.lru_cache(maxsize=256)
def _content(name: str, changed: int) -> tuple[bytes, bytes, str]:
    """Return a file, its gzip form and its digest.
    `changed` is part of the cache key, so that an edited file is read again."""
    content = (DASHBOARD / name).read_bytes()
    return content, gzip.compress(content, 6, mtime=0), fingerprint(content)[:32]


def _policy(page: bytes) -> str:
    """Return the content security policy: only our scripts and the page's inline script.
    ECharts needs inline styles for its tooltips."""
    inline = _INLINE.search(page)
    digest = base64.b64encode(bytes.fromhex(fingerprint(inline.group(1) if inline else b""))).decode()
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
        # Names of vendored files contain their version.
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


def _page_pool(request: Request) -> RequestPool:
    """Return the threads of the dashboard's files: the page must load while all requests for data wait."""
    pool: RequestPool = request.app.state.page
    return pool


PagePool = Annotated[RequestPool, Depends(_page_pool)]


@router.get("/")
async def dashboard(pool: PagePool, encodings: Encodings = "", known: Known = "") -> Response:
    """Serve the dashboard."""
    return await pool.run(_serve, "index.html", encodings, known)


@router.get("/dashboard/{name:path}")
async def dashboard_file(name: str, pool: PagePool, encodings: Encodings = "", known: Known = "") -> Response:
    """Serve a module or a style sheet of the dashboard. Raises NotFound."""
    if name not in _files():
        raise NotFound("page", name)
    return await pool.run(_serve, name, encodings, known)


@router.get("/docs")
async def docs(pool: PagePool) -> Response:
    """Serve the page of the API, which reads /openapi.json."""
    content = await pool.run((PAGES / "api.html").read_bytes)
    headers = {
        "content-security-policy": _policy(content),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }
    return Response(content, media_type=TYPES[".html"], headers=headers)
