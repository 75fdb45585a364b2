"""A short way for the frequent requests of workers: the same contract, a fraction of the framework's work.

One call in a thread authorizes the request, validates its body, runs the endpoint and writes the answer. Reports that
claim the next trial share such a call, and their transaction, while they wait (`service.store.groups`). Anything
unusual (another content type, a large or slow body, a body that does not validate, a query) takes the usual way
through the framework, so that its errors are those of every other endpoint.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.auth import Endpoint, Gate, LoginFacts, SharedFacts
from service.http.early_answer import problem, refuse
from service.http.grouping import Group, Waiting
from service.http.limits import READ_SECONDS, SMALL_BYTES
from service.http.pools import WORKERS, Busy, RequestPool, kind_of
from service.http.routes.workers import finish, reported, traced
from service.schemas.workers import AttemptOutcome, Claim, ReportResult
from service.store.groups import Report
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


@dataclass(frozen=True)
class Call:
    """A request with a complete body, and the endpoint that it reaches."""

    scope: Scope
    endpoint: Endpoint
    plan: Plan
    content: bytes


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
        self._reports: Group[Call, Response] = Group("reports", self._run_together)
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
        call = Call(scope, endpoint, plan, first.get("body", b""))
        try:
            if plan.call is finish:
                answer = await self._reports.ask(call)
            else:
                answer = await self._pool.run(self._run, call)
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

    def _run(self, call: Call) -> Response:
        """Authorize and answer a request; called in a thread. Raises _Refused, _Unusual and the endpoint's errors."""
        return self._answered(call, self._admitted(call))

    def _answered(self, call: Call, report: BaseModel) -> Response:
        scope, plan = call.scope, call.plan
        parts = {
            "store": self._state.store, "files": self._state.files, "login": scope["sparsemod_login"],
            **call.endpoint.parameters,
        }  # fmt: skip
        answer = plan.call(**{name: parts[name] for name in plan.names}, **{plan.body: report})
        return answer if isinstance(answer, Response) else self._written(answer, plan)

    def _admitted(self, call: Call, facts: LoginFacts | None = None) -> BaseModel:
        """Authorize a request and return its body. Raises _Refused, _Unusual."""
        scope, endpoint = call.scope, call.endpoint
        try:
            login = self._gate.admit(scope, endpoint, facts)
        except SparsemodError as error:
            raise _Refused(error) from error
        try:
            report = call.plan.model.model_validate_json(call.content)
        except ValidationError:
            raise _Unusual from None
        scope["sparsemod_login"], scope["route"] = login, endpoint.route
        scope["path_params"] = endpoint.parameters
        return report

    def _run_together(self, waiting: Sequence[Waiting[Call, Response]]) -> list[Response | Exception]:
        """Answer reports of results; called in a thread."""
        answers: list[Response | Exception | None] = [None] * len(waiting)
        together: dict[int, Report] = {}
        facts = SharedFacts(self._state.store, (one.item.endpoint.parameters["attempt"] for one in waiting))

        def begin(place: int, call: Call) -> None:
            body = self._admitted(call, facts)
            if not isinstance(body, ReportResult) or body.next is None:
                answers[place] = self._answered(call, body)
                return
            login, attempt = call.scope["sparsemod_login"], call.endpoint.parameters["attempt"]
            together[place] = reported(self._state.files, login, attempt, body, body.next)

        for place, one in enumerate(waiting):
            try:
                one.context.run(begin, place, one.item)
            except Exception as error:  # noqa: BLE001 - raised where the request waits
                answers[place] = error
        if together:
            first = waiting[next(iter(together))]  # the transaction belongs to its trace
            outcomes = first.context.run(self._state.store.finish_and_claim_all, list(together.values()))
            for place, outcome in zip(together, outcomes, strict=True):
                one = waiting[place]
                if isinstance(outcome, Exception):
                    answers[place] = outcome
                    continue
                answers[place] = self._written(one.context.run(traced, outcome), one.item.plan)
        return [answer if answer is not None else RuntimeError("no answer") for answer in answers]

    def _written(self, answer: BaseModel, plan: Plan) -> Response:
        if isinstance(answer, Claim) or (isinstance(answer, AttemptOutcome) and answer.next is not None):
            self._state.metrics.claimed()
        return Response(written(answer, self._state.store.spec_json), plan.status, media_type=JSON.decode())


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
