"""Error answers: to requests whose body is not used, and of endpoints."""

import asyncio
import contextlib
import json

import structlog
from fastapi.responses import JSONResponse
from starlette.types import Receive, Send

from service.errors import answer, status_of
from sparsemod.errors import SparsemodError

log = structlog.get_logger("server")

LINGER_SECONDS = 2.0
"""How long to discard further data.
A client that still sends would lose the answer if the connection closed at once."""


async def refuse(error: SparsemodError, receive: Receive | None, send: Send) -> None:
    """Answer with an error, close the connection and discard the request's body.
    `receive` is None when the body has arrived completely."""
    body = json.dumps(answer(error).model_dump(mode="json")).encode()
    status = status_of(error)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="sparsemod"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if receive is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    await asyncio.sleep(0)  # lets the timeout run, however fast the data arrive
    await send({"type": "http.response.body", "body": b""})


def problem(error: SparsemodError, method: str, path: str) -> JSONResponse:
    """Return the answer to a request whose endpoint raised `error`. Log errors of the server."""
    status = status_of(error)
    if status >= 500:
        log.error("request failed", method=method, path=path, error=str(error))
    headers = {"retry-after": "1"} if status == 503 else None
    return JSONResponse(answer(error).model_dump(mode="json"), status, headers)
