"""Answers to requests whose body nobody will use."""

import asyncio
import contextlib
import json

from starlette.types import Receive, Send

from service.errors import answer, status_of
from sparsemod.errors import SparsemodError

LINGER_SECONDS = 2.0
"""How long what still comes is thrown away: who sends would lose the answer if the connection ended under it."""


async def refuse(error: SparsemodError, receive: Receive | None, send: Send) -> None:
    """Answer with an error and end the connection, without keeping anything of the request's body; `receive` None: all of it has come."""
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
                    await asyncio.sleep(0)  # so that the time is looked at, however fast it comes
    await send({"type": "http.response.body", "body": b""})
