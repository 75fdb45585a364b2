"""Limits of requests and answers: body sizes by kind of request, and the time a client may take to send or to read."""

import asyncio
import re
import time

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge, TooSlow
from service.http.early_answer import refuse
from service.http.request_path import inner_path

SMALL_BYTES = 64 * 1024
"""Largest body of a request that is neither a spec, nor a worker's report, nor a file."""

SPEC_BYTES = 1_000_000
"""Largest body with a spec; a spec is usually a page or two."""

MODEL_BYTES = 64 * 1024**2
"""Largest uploaded model: 64 MiB, more than any device here can hold."""

SILENT_SECONDS = 30.0
"""How long a client may pause within a body."""

BODY_SECONDS = 60.0
"""How long the body of a request may take to arrive, except for uploads."""

READ_SECONDS = 60.0
"""How long a client may take to read a piece of an answer."""

_SPECS = re.compile(r"/experiments(/check|/[0-9]+/mend)?")
_REPORTS = re.compile(r"/attempts/[0-9]+/(points|finish)")


class _ReaderGone(Exception):
    """The client does not read its answer."""


class BodyLimit:
    """ASGI middleware: `artifact_limit` bytes for uploads, `limit` for a worker's reports, less for
    everything else.

    A body that announces too large a length is refused at once; any other when it exceeds its limit. The
    connection of a client that stops within a body, or does not read its answer, is closed.
    """

    def __init__(self, app: ASGIApp, limit: int, artifact_limit: int) -> None:
        self._app, self._limit, self._artifact_limit = app, limit, artifact_limit

    def _limit_of(self, scope: Scope) -> tuple[int, str, bool]:
        """Return the limit in bytes, its source, and whether the request is an upload."""
        path = inner_path(scope)
        if scope["method"] == "PUT" and path.startswith("/artifacts/"):
            return self._artifact_limit, "the server's SPARSEMOD_MAX_ARTIFACT_BYTES", True
        if scope["method"] == "POST" and path == "/models":
            return min(MODEL_BYTES, self._artifact_limit), "the limit for models", True
        size, kind = SMALL_BYTES, "the limit for requests of this kind"
        if _SPECS.fullmatch(path):
            size, kind = SPEC_BYTES, "the limit for specs"
        elif _REPORTS.fullmatch(path):
            size = self._limit
        if size >= self._limit:
            return self._limit, "the server's SPARSEMOD_MAX_REQUEST_BYTES", False
        return size, kind, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, source, upload = self._limit_of(scope)
        error = TooLarge("body", f"more than {limit} bytes", f"at most {limit} bytes ({source})")
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > limit:
            await refuse(error, receive, send)
            return
        seen = 0
        slow: TooSlow | None = None
        begun = ended = False
        begin = time.monotonic()

        async def counted() -> Message:
            nonlocal seen, ended, slow
            if ended:  # the next message is the end of the connection
                return await receive()
            left = SILENT_SECONDS if upload else min(SILENT_SECONDS, begin + BODY_SECONDS - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    message = await receive()
            except TimeoutError:
                slow = TooSlow(f"the body of the request did not come within {left:.0f} s")
                raise slow from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                if seen > limit:
                    raise error
            return message

        async def answered(message: Message) -> None:
            # The endpoint may have turned our exception into another answer.
            nonlocal begun
            wrong = error if seen > limit else slow
            if wrong is not None and not begun:
                if message["type"] == "http.response.start":
                    await refuse(wrong, None if ended or slow else receive, send)
                return
            begun = True
            try:
                async with asyncio.timeout(READ_SECONDS):
                    await send(message)
            except TimeoutError:
                raise _ReaderGone from None

        try:
            await self._app(scope, counted, answered)
        except _ReaderGone:
            return  # the server closes a connection whose answer is incomplete


class Packed:
    """ASGI middleware: compress answers from 1000 bytes on for clients that accept gzip.
    Files stay as they are: their length is promised."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain, self._packing = app, GZipMiddleware(app, minimum_size=1000, compresslevel=3)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_file = scope["type"] == "http" and inner_path(scope).startswith("/artifacts/")
        await (self._plain if is_file else self._packing)(scope, receive, send)
