"""The HTTP server: `create_app(settings)` wires store, files, routes and errors. `service.http.routes` holds
the endpoints.

Nothing here loads torch or Ax. Every error answer has the shape of `ErrorAnswer`.
"""

import importlib
import traceback
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.errors import answer
from service.files.artifacts import ArtifactFiles
from service.http.auth import Gate, Guard, guarded, rules_of
from service.http.description import Described
from service.http.direct import Direct
from service.http.early_answer import problem
from service.http.feed import Feed
from service.http.housekeeping import Housekeeping
from service.http.limits import BodyLimit, Packed
from service.http.metrics import Metrics
from service.http.open_streams import OpenStreams
from service.http.pools import WORKERS, RequestPool, Turns, pools
from service.http.query import known_query
from service.http.readiness import Readiness
from service.http.routes import (
    artifacts,
    catalogue,
    experiments,
    exports,
    graph,
    health,
    importance,
    login,
    membership,
    models,
    monitoring,
    overview,
    pareto,
    points,
    repetitions,
    stream,
    study,
    timeline,
    trials,
    webhooks,
    workers,
)
from service.http.watch import Watch
from service.jobs.ax_snapshot import AxExport
from service.jobs.computed_views import Computed
from service.jobs.exports import Exports
from service.jobs.models import ModelJobs
from service.jobs.webhooks import WebhookJobs
from service.schemas.errors import ErrorAnswer, ErrorDetail
from service.settings import Settings
from service.store import Store, open_store
from service.store.retention_policy import Policy
from sparsemod.errors import InvalidInput, SparsemodError, plain_message, shorten
from sparsemod.version import __version__

log = structlog.get_logger("server")

TAGS = [
    {"name": "experiments", "description": "Create, follow and control experiments."},
    {"name": "trials", "description": "The trials of an experiment: list, inspect, attach, stop."},
    {"name": "results", "description": "The Pareto front, and the experiment for Ax."},
    {
        "name": "exports",
        "description": "Deployable files: C, ONNX, TensorFlow Lite. Each is checked against the integer network.",
    },
    {
        "name": "models",
        "description": "Trained models from files: costs layer by layer, and searches that start from them.",
    },
    {"name": "artifacts", "description": "Files, addressed by the SHA-256 digest of their content."},
    {"name": "workers", "description": "Endpoints for workers. A report must carry the attempt's token."},
    {"name": "webhooks", "description": "Signed requests to your receivers when something changes."},
    {"name": "logins", "description": "Tokens, and the dashboard's session."},
    {"name": "service", "description": "The server's state, and what specs may name."},
]

PARTS = (
    experiments, stream, trials, points, timeline, graph, pareto, repetitions, study, membership, importance, exports, models, artifacts, workers, webhooks, catalogue, login, health, monitoring, overview,
)  # fmt: skip
"""The modules of the endpoints."""

DESCRIPTION = (
    "Give it a dataset, a search space and a device's budget; get back a Pareto front of measured int8 networks. Every error has the shape "
    "of the schema ErrorAnswer. Requests that create something accept an Idempotency-Key header, so that they can be repeated safely."
)


def create_app(settings: Settings | None = None, *, store: Store | None = None) -> FastAPI:
    """Return the server as an ASGI application. It does not close a `store` that the caller passes.

    Raises InvalidInput for unusable settings, ServerUnavailable when the database does not answer.
    """
    settings = settings or Settings()
    for module in settings.imports:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InvalidInput("imports", module, f"a module that the server can import ({error})") from error
    close_store = store is None
    opened = store if store is not None else open_store(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pause = min(settings.lease_seconds / 4, 5.0)
        policy, metrics = Policy.of(settings), app.state.metrics
        housekeeping = Housekeeping(opened, app.state.files, pause, policy, metrics.expired)
        opened.lenient_until = opened.clock() + settings.lease_seconds
        housekeeping.start()
        app.state.exports.begin()
        app.state.models.begin()
        app.state.webhooks.begin()
        try:
            yield
        finally:
            app.state.feed.end()
            app.state.computed.close()
            app.state.ax.close()
            housekeeping.close()
            app.state.exports.close()
            app.state.models.close()
            app.state.webhooks.close()
            if close_store:
                opened.close()

    app = Described(
        title="sparsemod", version=__version__, description=DESCRIPTION, openapi_tags=TAGS, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # FastAPI's pages load scripts from other servers; ours is at /docs
        responses={422: {"model": ErrorAnswer, "description": "An input is not valid."}},
        redirect_slashes=False, dependencies=[Depends(guarded), Depends(known_query)],
    )  # fmt: skip
    app.state.settings = settings
    app.state.store = opened
    app.state.files = ArtifactFiles(settings.artifacts_dir, settings.max_artifact_bytes)
    app.state.ax = AxExport(opened, settings)
    app.state.exports = Exports(opened, app.state.files, settings)
    app.state.models = ModelJobs(opened, app.state.files, settings)
    app.state.webhooks = WebhookJobs(opened, settings)
    app.state.feed = Feed(opened)
    app.state.open_streams = OpenStreams(opened.quotas)
    app.state.readiness = Readiness(opened, app.state.files, settings)
    app.state.metrics = Metrics(opened, app.state.files.root)
    app.state.transfers = RequestPool("uploads and downloads", 8)
    app.state.page = RequestPool("requests for the page", 4)
    app.state.points = OrderedDict()  # see service.http.routes.points
    app.state.computed = Computed(opened, settings)
    for part in PARTS:
        rules_of(part.router)  # raises MissingRule for an endpoint without an access rule
        app.include_router(part.router)
    app.add_middleware(Packed)
    app.add_middleware(
        BodyLimit, limit=settings.max_request_bytes, artifact_limit=settings.max_artifact_bytes
    )
    gate, places = Gate(opened, [part.router for part in PARTS]), pools()
    app.add_middleware(Turns, pools=places)
    # The middleware added last runs first: no body is read before the request is authorized.
    app.add_middleware(Guard, gate=gate)
    app.add_middleware(Direct, gate=gate, pool=places[WORKERS], router=workers.router, state=app.state)
    # Outside of the guard: it sees refused requests too.
    app.add_middleware(Watch, store=opened, metrics=app.state.metrics, access_log=settings.access_log)
    app.add_exception_handler(SparsemodError, _on_sparsemod_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected)
    return app


def _json(status: int, content: ErrorAnswer, headers: Any = None) -> Response:
    return JSONResponse(content.model_dump(mode="json"), status, headers)


async def _on_sparsemod_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, SparsemodError):
        raise error
    return problem(error, request.method, request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Answer with the first of FastAPI's validation errors;
    its location becomes `field`. Never repeat a secret: a page would show it."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    place = _place(first, error.body)
    field = ".".join(place)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return _json(422, answer(cause.at(field)))
    if first["type"] == "json_invalid":
        allowed = f"JSON ({first['ctx']['error']})"
        return _json(422, answer(InvalidInput("body", "", allowed)))
    missing = first["type"] == "missing"
    if first["type"] in _PLAIN:
        allowed = _PLAIN[first["type"]]
    else:
        # A value of a union type has one validation error for each type.
        branches = [plain_message(one["msg"]) for one in error.errors() if _place(one, error.body) == place]
        allowed = " or ".join(dict.fromkeys(branches))
    secret = place[-1] == "token" or request.url.path == "/login"
    value = "(not shown)" if secret else None if missing else first.get("input")
    return _json(422, answer(InvalidInput(field, value, allowed)))


_PLAIN = {"extra_forbidden": "unknown key", "missing": "is missing"}


def _place(complaint: Any, body: Any) -> list[str]:
    """Return the location of a validation error:
    only names and indices of the request, without pydantic's names of union branches."""
    source, *rest = complaint["loc"]
    if source != "body" or not rest:
        return [str(part) for part in rest or [source]]
    place: list[str] = []
    for part in rest:
        inside = (
            part in body if isinstance(body, Mapping) else isinstance(part, int) and isinstance(body, list)
        )
        if not inside:
            if complaint["type"] == "missing":
                place.append(str(part))
            break
        place.append(str(part))
        body = body[part]
    return place or ["body"]


async def _on_http(request: Request, error: Exception) -> Response:
    """Answer to the errors of Starlette and FastAPI: unknown paths, wrong methods, unreadable bodies."""
    if not isinstance(error, HTTPException):
        raise error
    kinds = {404: "NotFound", 405: "MethodNotAllowed", 413: "TooLarge", 415: "UnsupportedMediaType"}
    message = f"{request.method} {shorten(request.url.path)}: {error.detail}"
    detail = ErrorDetail(type=kinds.get(error.status_code, "BadRequest"), message=message)
    return _json(error.status_code, ErrorAnswer(error=detail), error.headers)


async def _on_disconnect(request: Request, _: Exception) -> Response:
    """The client closed the connection before the end of its body. No response is sent, and nothing of the body is stored."""
    log.info("client disconnected", method=request.method, path=request.url.path)
    return Response(status_code=400)


async def _on_unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises the error again for the server's log; the client must not see internal details.
    # No exc_info: a log with local variables would show tokens.
    trace = "".join(traceback.format_exception(error))
    log.error("request crashed", method=request.method, path=request.url.path, traceback=trace)
    detail = ErrorDetail(
        type="ServerError", message="the server failed on this request; its log has the reason"
    )
    return _json(500, ErrorAnswer(error=detail))
