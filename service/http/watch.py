"""What every request leaves behind: an id, a line of the access log, a sample of the metrics, an audit entry.

Pure ASGI, outside of all other middleware, so that refused requests are seen too.
"""

import random
import re
import time
from typing import Any

import anyio.to_thread
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import telemetry
from service.http.metrics import Metrics
from service.http.request_path import inner_path
from service.store import Store
from sparsemod.errors import SparsemodError

log = structlog.get_logger("access")

HEADER = b"x-request-id"
TRACE_HEADER = telemetry.PARENT.encode()

UNMATCHED = "(no endpoint)"
"""The path of requests that reach no endpoint: their own paths would be metrics without end."""

AUDITED = ("/experiments", "/models", "/pareto", "/webhooks", "/workers")
"""Beginnings of the paths whose changes are recorded. Workers' reports are in the trials' events."""

_random = random.Random()  # the ids must differ, but they are no secrets
_ID = re.compile(rb"[A-Za-z0-9._-]{1,100}")
_PLACE = re.compile(rb".*/experiments/([0-9]+)(?:/trials/[0-9]+)?")


class Watch:
    """ASGI middleware. With `access_log`, each request has a line in the log."""

    def __init__(self, app: ASGIApp, store: Store, metrics: Metrics, access_log: bool) -> None:
        self._app, self._store, self._metrics, self._access_log = app, store, metrics, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        request = given if _ID.fullmatch(given) else b"%032x" % _random.getrandbits(128)
        scope["sparsemod_request"] = request.decode()
        begin = time.perf_counter()
        status = 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (HEADER, request)]}
                if status < 300:
                    await self._audit(scope, message["headers"])
            await send(message)

        parent = None
        if telemetry.enabled():
            parent = next((v.decode("latin-1") for n, v in scope["headers"] if n == TRACE_HEADER), None)
        with (
            structlog.contextvars.bound_contextvars(request=request.decode()),
            telemetry.span(scope["method"], parent, http_request_method=scope["method"]) as span,
        ):
            try:
                await self._app(scope, receive, answered)
            finally:
                seconds = time.perf_counter() - begin
                route = scope.get("route")
                path = getattr(route, "path_format", UNMATCHED)
                if span is not None:
                    _describe(span, scope, path, status)
                self._metrics.answered(scope["method"], path, status, seconds)
                if self._access_log:
                    self._line(scope, path, status, seconds)

    def _line(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        login = scope.get("sparsemod_login")
        place = {
            {"index": "trial"}.get(name, name): value
            for name, value in scope.get("path_params", {}).items()
            if name in ("experiment", "index", "attempt")
        }
        client = scope.get("client")
        log.info(
            "request", method=scope["method"], path=inner_path(scope), route=path, status=status,
            ms=round(1000 * seconds, 1), client=client[0] if client else None,
            owner=None if login is None else login.owner, **place,
        )  # fmt: skip

    async def _audit(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
        """Record a change before its answer is sent."""
        path = inner_path(scope)
        if scope["method"] in ("GET", "HEAD", "OPTIONS") or path == "/experiments/check":
            return
        if not path.startswith(AUDITED):
            return
        login, parameters = scope.get("sparsemod_login"), scope.get("path_params", {})
        experiment: Any = parameters.get("experiment")
        created = next((value for name, value in headers if name == b"location"), None)
        if created is not None and (found := _PLACE.fullmatch(created)) is not None:
            path, experiment = found[0].decode(), int(found[1])
        action = f"{scope['method']} {getattr(scope.get('route'), 'path_format', path)}"

        def write() -> None:
            self._store.record(
                action, path, owner=None if login is None else login.owner, token=None if login is None else login.token,
                experiment=experiment, request=scope["sparsemod_request"],
            )  # fmt: skip

        try:
            await anyio.to_thread.run_sync(write)
        except SparsemodError as error:
            # The change is stored already; an error would make the client repeat it. The log has the entry.
            log.error(
                "audit entry not stored", action=action, target=path, owner=getattr(login, "owner", None), reason=str(error)
            )  # fmt: skip


def _describe(span: Any, scope: Scope, path: str, status: int) -> None:
    """Name a request's span after its route, which is known only now."""
    span.update_name(f"{scope['method']} {path}")
    span.set_attribute("http.route", path)
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("sparsemod.request", scope["sparsemod_request"])
    for name, value in scope.get("path_params", {}).items():
        if name in ("experiment", "index", "attempt"):
            span.set_attribute(f"sparsemod.{'trial' if name == 'index' else name}", value)
    if status >= 500:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR)
