"""Bodies beyond their limit are refused: by their announced length at once, else as soon as they pass it. Answers are compressed."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge
from service.refusal import refuse
from service.request_path import inner_path


class BodyLimit:
    """ASGI middleware: `limit` bytes for every request, `artifact_limit` for uploads."""

    def __init__(self, app: ASGIApp, limit: int, artifact_limit: int) -> None:
        self._app, self._limit, self._artifact_limit = app, limit, artifact_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["method"] == "PUT" and inner_path(scope).startswith("/artifacts/")
        limit = self._artifact_limit if upload else self._limit
        setting = "SPARSEMOD_MAX_ARTIFACT_BYTES" if upload else "SPARSEMOD_MAX_REQUEST_BYTES"
        error = TooLarge(
            "body", f"more than {limit} bytes", f"at most {limit} bytes (the server's {setting})"
        )
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > limit:
            await refuse(error, receive, send)
            return
        seen = 0
        begun = ended = False

        async def counted() -> Message:
            nonlocal seen, ended
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                if seen > limit:
                    raise error
            return message

        async def answered(message: Message) -> None:
            # Whoever read the body may have turned our exception into an answer of its own.
            nonlocal begun
            if seen > limit and not begun:
                if message["type"] == "http.response.start":
                    await refuse(error, None if ended else receive, send)
                return
            begun = True
            await send(message)

        await self._app(scope, counted, answered)


class Packed:
    """ASGI middleware: answers of some size are compressed for who can read that. Files are not: their length is part of what is promised."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain, self._packing = app, GZipMiddleware(app, minimum_size=1000, compresslevel=3)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        files = scope["type"] == "http" and inner_path(scope).startswith("/artifacts/")
        await (self._plain if files else self._packing)(scope, receive, send)
