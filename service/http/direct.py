"""A short way for the frequent requests of workers: the same contract, a fraction of the framework's work.

One call in a thread authorizes the request, validates its body, runs the endpoint and writes the answer. Anything
unusual (another content type, a large or slow body, a body that does not validate, a query) takes the usual way
through the framework, so that its errors are those of every other endpoint.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.auth import Endpoint, Gate
from service.http.early_answer import problem, refuse
from service.http.limits import READ_SECONDS, SMALL_BYTES
from service.http.pools import WORKERS, Busy, RequestPool, kind_of
from service.schemas.workers import AttemptOutcome, Claim
from sparsemod.errors import SparsemodError

JSON = b"application/json"

SERVER_PARTS = ("store", "files", "login")
"""Names of the parameters that the server fills in."""

PATIENCE_SECONDS = 1.0
"""How long to wait for a body. A slower one takes the usual way, where its time is limited after authorization."""


@dataclass(frozen=True)
class Plan:
    """An endpoint `(server parts, path parameters, one body) -> record or Response`."""

    call: Callable[..., Any]
    body: str
    model: type[BaseModel]
    names: tuple[str, ...]
    status: int


class _Refused(Exception):
    """The request was not authorized."""

    def __init__(self, error: SparsemodError) -> None:
        super().__init__(error)
        self.error = error


class _Unusual(Exception):
    """The request needs the usual way."""


class Direct:
    """ASGI middleware: answer requests to the endpoints of `router` that take one body and no query.

    `pool`: the places of these requests. `state`: the application's, with store, files, metrics and settings.
    """

    def __init__(self, app: ASGIApp, gate: Gate, pool: RequestPool, router: APIRouter, state: State) -> None:
        self._app, self._gate, self._pool, self._state = app, gate, pool, state
        self._plans = {
            id(route): plan
            for route in router.routes
            if isinstance(route, APIRoute) and kind_of(route.path) == WORKERS
            if (plan := plan_of(route)) is not None
        }
        self._most = min(SMALL_BYTES, state.settings.max_request_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not _usual_head(scope, self._most):
            await self._app(scope, receive, send)
            return
        try:
            endpoint = self._gate.endpoint(scope)
        except SparsemodError:
            endpoint = None  # the guard answers
        plan = None if endpoint is None else self._plans.get(id(endpoint.route))
        if endpoint is None or plan is None:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                first = await receive()
        except TimeoutError:
            await self._app(scope, receive, send)
            return
        again = _replayed(first, receive)
        if first["type"] != "http.request" or first.get("more_body", False):
            await self._app(scope, again, send)
            return
        try:
            answer = await self._pool.run(self._run, scope, endpoint, plan, first.get("body", b""))
        except _Unusual:
            await self._app(scope, again, send)
            return
        except _Refused as refused:
            await refuse(refused.error, None, send)
            return
        except Busy as error:
            await refuse(error, None, send)
            return
        except SparsemodError as error:
            answer = problem(error, scope["method"], scope["path"])
        with contextlib.suppress(TimeoutError):  # the server closes a connection whose answer is incomplete
            async with asyncio.timeout(READ_SECONDS):
                await answer(scope, receive, send)

    def _run(self, scope: Scope, endpoint: Endpoint, plan: Plan, content: bytes) -> Response:
        """Authorize and answer a request; called in a thread. Raises _Refused, _Unusual and the endpoint's errors."""
        try:
            login = self._gate.admit(scope, endpoint)
        except SparsemodError as error:
            raise _Refused(error) from error
        try:
            report = plan.model.model_validate_json(content)
        except ValidationError:
            raise _Unusual from None
        scope["sparsemod_login"], scope["route"] = login, endpoint.route
        scope["path_params"] = endpoint.parameters
        store = self._state.store
        parts = {"store": store, "files": self._state.files, "login": login, **endpoint.parameters}
        answer = plan.call(**{name: parts[name] for name in plan.names}, **{plan.body: report})
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, Claim) or (isinstance(answer, AttemptOutcome) and answer.next is not None):
            self._state.metrics.claimed()
        return Response(written(answer, store.spec_json), plan.status, media_type=JSON.decode())


def plan_of(route: APIRoute) -> Plan | None:
    """Return how to call the endpoint of a route; None unless it has exactly one body, and no further parameters than
    server parts and those of its path."""
    hints = get_type_hints(route.endpoint)
    models = [
        (name, hint)
        for name, hint in hints.items()
        if name != "return" and isinstance(hint, type) and issubclass(hint, BaseModel)
    ]
    if len(models) != 1:
        return None
    ((body, model),) = models
    names = tuple(name for name in hints if name not in ("return", body))
    if not {*SERVER_PARTS, *route.param_convertors}.issuperset(names):
        return None
    return Plan(route.endpoint, body, model, names, route.status_code or 200)


def _usual_head(scope: Scope, most: int) -> bool:
    """Return whether the head announces a JSON body of at most `most` bytes without a query."""
    if scope["query_string"]:
        return False
    kind, length = b"", b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value
        elif name == b"content-length":
            length = value
    return kind == JSON and length.isdigit() and int(length) <= most


def _replayed(first: Message, receive: Receive) -> Receive:
    """Return a `receive` that returns `first` once more."""
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def written(answer: BaseModel, spec_json: Callable[[int], str | None]) -> str:
    """Return a record as JSON. The spec of a claim is written once for each experiment, not for each claim."""
    claim = answer.next if isinstance(answer, AttemptOutcome) else answer
    spec = spec_json(claim.experiment) if isinstance(claim, Claim) else None
    if not isinstance(claim, Claim) or spec is None:
        return answer.model_dump_json()
    text = claim.model_dump_json(exclude={"spec"})[:-1] + ',"spec":' + spec + "}"
    if claim is answer:
        return text
    return answer.model_dump_json(exclude={"next"})[:-1] + ',"next":' + text + "}"
