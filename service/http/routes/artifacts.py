"""Files, addressed by digest."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, Response

from service.errors import NoSpace
from service.files.artifacts import CHUNK
from service.http.pools import RequestPool
from service.http.routes.common import FilesDep, StoreDep, failures
from service.schemas.trials import DIGEST_PATTERN, ArtifactInfo

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

DigestPath = Annotated[
    str,
    PathParameter(
        pattern=DIGEST_PATTERN,
        description="`sha256:` and 64 hexadecimal digits.",
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
    """Returns the content, which never changes: clients may cache it for ever."""

    def locate() -> Path:
        store.artifact(digest)
        return files.open(digest)

    path = await _pool(request).run(locate)
    return FileResponse(path, media_type="application/octet-stream", headers=_headers(digest))


@router.head(
    "/{digest}",
    summary="Check whether a file exists",
    response_class=Response,
    responses={200: {"description": "The file exists."}, **failures(404)},
)
async def exists(request: Request, store: StoreDep, files: FilesDep, digest: DigestPath) -> Response:
    """Answers like a download, without the content.
    The file then stays for at least a day, even when nothing refers to it."""

    def file_size() -> int:
        info = store.ask_artifact(digest)
        files.open(digest)
        return info.size

    size = await _pool(request).run(file_size)
    headers = {**_headers(digest), "content-length": str(size)}
    return Response(status_code=200, media_type="application/octet-stream", headers=headers)


@router.put(
    "/{digest}",
    summary="Upload a file",
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
    responses=failures(413),
)
async def upload(request: Request, store: StoreDep, files: FilesDep, digest: DigestPath) -> ArtifactInfo:
    """Stores the body under its digest, after checking the body against it. Uploading an existing file again
    succeeds.

    When the disk has no space for it, the answer is 503 of type NoSpace, and no trials are handed out until
    there is space.
    """
    pool = _pool(request)
    try:
        with await pool.run(files.receive, digest) as receiving:
            buffered = bytearray()
            async for chunk in request.stream():
                buffered += chunk
                if len(buffered) >= CHUNK:
                    await pool.run(receiving.write, bytes(buffered))
                    buffered.clear()
            await pool.run(receiving.write, bytes(buffered))
            info = await pool.run(receiving.commit, store)
    except NoSpace as error:
        await pool.run(store.out_of_space, str(error))
        raise
    await pool.run(store.space_again)
    return info


def _pool(request: Request) -> RequestPool:
    pool: RequestPool = request.app.state.transfers
    return pool


def _headers(digest: str) -> dict[str, str]:
    # Files are data, never pages: a browser must not run one.
    return {
        "etag": f'"{digest}"',
        # Not "public": when the server has logins, a shared cache must not serve the file to others.
        "cache-control": "private, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
        "content-disposition": "attachment",
    }
