"""Files, by digest."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response

from service.artifacts import CHUNK
from service.errors import NoSpace
from service.routes.common import FilesDep, StoreDep, failures
from service.schemas import DIGEST_PATTERN, ArtifactInfo

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

DigestPath = Annotated[
    str,
    Path(
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
def download(store: StoreDep, files: FilesDep, digest: DigestPath) -> FileResponse:
    """The content; it never changes, so that it can be cached for ever."""
    store.artifact(digest)
    return FileResponse(files.open(digest), media_type="application/octet-stream", headers=_headers(digest))


@router.head(
    "/{digest}",
    summary="Is a file there?",
    response_class=Response,
    responses={200: {"description": "It is."}, **failures(404)},
)
def exists(store: StoreDep, files: FilesDep, digest: DigestPath) -> Response:
    """Answers like a download, without the content. The file stays for a day at least, also when nothing refers to it."""
    info = store.ask_artifact(digest)
    files.open(digest)
    headers = {**_headers(digest), "content-length": str(info.size)}
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
    try:
        with await run_in_threadpool(files.receive, digest) as receiving:
            held = bytearray()
            async for chunk in request.stream():
                held += chunk
                if len(held) >= CHUNK:
                    await run_in_threadpool(receiving.write, bytes(held))
                    held.clear()
            await run_in_threadpool(receiving.write, bytes(held))
            info = await run_in_threadpool(receiving.commit, store)
    except NoSpace as error:
        await run_in_threadpool(store.out_of_space, str(error))
        raise
    await run_in_threadpool(store.space_again)
    return info


def _headers(digest: str) -> dict[str, str]:
    # Files are data, never pages: a browser must not take one for something to run.
    return {
        "etag": f'"{digest}"',
        # Not "public": where there are logins, a cache in between must not hand it out to others.
        "cache-control": "private, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
        "content-disposition": "attachment",
    }
