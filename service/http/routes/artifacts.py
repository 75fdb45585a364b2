"""Files, by digest."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, Response

from service.errors import NoSpace
from service.files.artifacts import CHUNK
from service.http.pools import Pool
from service.http.routes.common import FilesDep, StoreDep, failures
from service.schemas.trials import DIGEST_PATTERN, ArtifactInfo

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

DigestPath = Annotated[
    str,
    PathParameter(
        pattern=DIGEST_PATTERN,
        description="sha256: and 64 hexadecimal digits.",
        examples=["sha256:" + "0" * 64],
    ),
]
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "/{digest}",
    summary="Download a file",
    response_class=FileResponse,
    responses={200: {"content": _BINARY, "description": "The content."}, **failures(404)},
)
async def download(request: Request, store: StoreDep, files: FilesDep, digest: DigestPath) -> FileResponse:
    """The content; it never changes, so that it can be cached for ever."""

    def found() -> Path:
        store.artifact(digest)
        return files.open(digest)

    path = await _pool(request).run(found)
    return FileResponse(path, media_type="application/octet-stream", headers=_headers(digest))


@router.head(
    "/{digest}",
    summary="Is a file there?",
    response_class=Response,
    responses={200: {"description": "It is."}, **failures(404)},
)
async def exists(request: Request, store: StoreDep, files: FilesDep, digest: DigestPath) -> Response:
    """Answers like a download, without the content. The file stays for a day at least, also when nothing refers to it."""

    def found() -> int:
        info = store.ask_artifact(digest)
        files.open(digest)
        return info.size

    size = await _pool(request).run(found)
    headers = {**_headers(digest), "content-length": str(size)}
    return Response(status_code=200, media_type="application/octet-stream", headers=headers)


@router.put(
    "/{digest}",
    summary="Upload a file",
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
    responses=failures(413),
)
async def upload(request: Request, store: StoreDep, files: FilesDep, digest: DigestPath) -> ArtifactInfo:
    """Stores the body under its digest. The body is checked against the digest; a file that is there already is accepted again.

    Where there is no space for it, the answer is 503 of type NoSpace, and no trials are handed out until there is.
    """
    pool = _pool(request)
    try:
        with await pool.run(files.receive, digest) as receiving:
            held = bytearray()
            async for chunk in request.stream():
                held += chunk
                if len(held) >= CHUNK:
                    await pool.run(receiving.write, bytes(held))
                    held.clear()
            await pool.run(receiving.write, bytes(held))
            info = await pool.run(receiving.commit, store)
    except NoSpace as error:
        await pool.run(store.out_of_space, str(error))
        raise
    await pool.run(store.space_again)
    return info


def _pool(request: Request) -> Pool:
    pool: Pool = request.app.state.transfers
    return pool


def _headers(digest: str) -> dict[str, str]:
    # Files are data, never pages: a browser must not take one for something to run.
    return {
        "etag": f'"{digest}"',
        # Not "public": where there are logins, a cache in between must not hand it out to others.
        "cache-control": "private, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
        "content-disposition": "attachment",
    }
