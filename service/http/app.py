"""The HTTP server: `create_app(settings)` wires store, files, routes and errors. Endpoints lie in `service.http.routes`.

Nothing here loads torch or Ax. Every error, whatever it is, has the shape of `ErrorAnswer`.
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

from service.errors import answer, status_of
from service.files.artifacts import ArtifactFiles
from service.http.auth import Guard, guarded, rules_of
from service.http.description import Described
from service.http.feed import Feed
from service.http.housekeeping import Housekeeping
from service.http.limits import BodyLimit, Packed
from service.http.pools import Pool, Turns
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
    overview,
    pareto,
    points,
    repetitions,
    stream,
    timeline,
    trials,
    workers,
)
from service.jobs.ax_snapshot import AxExport
from service.jobs.computed_views import Computed
from service.jobs.exports import Exports
from service.schemas.errors import ErrorAnswer, ErrorDetail
from service.settings import Settings
from service.store import Store, open_store
from sparsemod import __version__
from sparsemod.errors import InvalidInput, SparsemodError, shorten

log = structlog.get_logger("server")

TAGS = [
    {"name": "experiments", "description": "Make, watch and steer experiments."},
    {"name": "trials", "description": "The trials of an experiment: list, inspect, attach, stop."},
    {"name": "results", "description": "The Pareto front, and the experiment for Ax."},
    {"name": "exports", "description": "Files to flash: C, ONNX, TensorFlow Lite, each checked."},
    {"name": "artifacts", "description": "Files, addressed by the SHA-256 of their content."},
    {"name": "workers", "description": "What workers use. Reports are fenced by the attempt's token."},
    {"name": "logins", "description": "Tokens, and the page's session."},
    {"name": "service", "description": "Is it there?"},
]

PARTS = (
    experiments, stream, trials, points, timeline, graph, pareto, repetitions, importance, exports, artifacts, workers, catalogue, login, health, overview,
)  # fmt: skip
"""The modules of the endpoints."""

DESCRIPTION = (
    "Give it a dataset, a search space and a device's budget; get back a Pareto front of measured int8 networks. Every error has the shape "
    "of the schema ErrorAnswer. Requests that make something take an Idempotency-Key header, so that they can be repeated safely."
)


def create_app(settings: Settings | None = None, *, store: Store | None = None) -> FastAPI:
    """The server as an ASGI application. A `store` that is given is left open at the end.

    Raises InvalidInput for settings that cannot be used, ServerUnavailable when the database does not answer.
    """
    settings = settings or Settings()
    for module in settings.imports:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InvalidInput("imports", module, f"a module that can be imported here ({error})") from error
    own = store is None
    held = store if store is not None else open_store(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        housekeeping = Housekeeping(held, app.state.files, pause=min(settings.lease_seconds / 4, 5.0))
        held.lenient_until = held.clock() + settings.lease_seconds
        housekeeping.start()
        app.state.exports.begin()
        try:
            yield
        finally:
            app.state.feed.end()
            app.state.computed.close()
            housekeeping.close()
            app.state.exports.close()
            if own:
                held.close()

    app = Described(
        title="sparsemod", version=__version__, description=DESCRIPTION, openapi_tags=TAGS, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # FastAPI's own pages load scripts from other servers; ours is at /docs
        responses={422: {"model": ErrorAnswer, "description": "Something that was given is not acceptable."}},
        redirect_slashes=False, dependencies=[Depends(guarded), Depends(known_query)],
    )  # fmt: skip
    app.state.settings = settings
    app.state.store = held
    app.state.files = ArtifactFiles(settings.artifacts_dir, settings.max_artifact_bytes)
    app.state.ax = AxExport(held, settings)
    app.state.exports = Exports(held, app.state.files, settings)
    app.state.feed = Feed(held)
    app.state.readiness = Readiness(held, app.state.files, settings)
    app.state.transfers = Pool("uploads and downloads", 8)
    app.state.points = OrderedDict()  # see service.http.routes.points
    app.state.computed = Computed(held, settings)
    for part in PARTS:
        rules_of(part.router)  # raises for an endpoint of which nobody has said who may use it
        app.include_router(part.router)
    app.add_middleware(Packed)
    app.add_middleware(
        BodyLimit, limit=settings.max_request_bytes, artifact_limit=settings.max_artifact_bytes
    )
    app.add_middleware(Turns)
    # Added last, it comes first: a body is not even looked at before it is known whose it is.
    app.add_middleware(Guard, store=held, routers=[part.router for part in PARTS])
    app.add_exception_handler(SparsemodError, _on_own)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_unexpected)
    return app


def _json(status: int, content: ErrorAnswer, headers: Any = None) -> Response:
    return JSONResponse(content.model_dump(mode="json"), status, headers)


async def _on_own(request: Request, error: Exception) -> Response:
    if not isinstance(error, SparsemodError):
        raise error
    status = status_of(error)
    if status >= 500:
        log.error("request failed", method=request.method, path=request.url.path, error=str(error))
    return _json(status, answer(error), {"retry-after": "1"} if status == 503 else None)


async def _on_invalid(request: Request, error: Exception) -> Response:
    """FastAPI's list of complaints as one of ours: the first, with its place as field. Secrets are not repeated: a page would show them."""
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
        # A value of one of several types has a complaint for each of them.
        branches = [one["msg"] for one in error.errors() if _place(one, error.body) == place]
        allowed = " or ".join(dict.fromkeys(text.replace("Input should", "should") for text in branches))
    secret = place[-1] == "token" or request.url.path == "/login"
    value = "(not shown)" if secret else None if missing else first.get("input")
    return _json(422, answer(InvalidInput(field, value, allowed)))


_PLAIN = {"extra_forbidden": "unknown key", "missing": "is missing"}


def _place(complaint: Any, body: Any) -> list[str]:
    """Where in the request a complaint is: names and indices that are there, without pydantic's names for the branch that it tried."""
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
    """What Starlette and FastAPI raise themselves: unknown paths, wrong methods, bodies that cannot be read."""
    if not isinstance(error, HTTPException):
        raise error
    kinds = {404: "NotFound", 405: "MethodNotAllowed", 413: "TooLarge", 415: "UnsupportedMediaType"}
    message = f"{request.method} {shorten(request.url.path)}: {error.detail}"
    detail = ErrorDetail(type=kinds.get(error.status_code, "BadRequest"), message=message)
    return _json(error.status_code, ErrorAnswer(error=detail), error.headers)


async def _on_gone(request: Request, _: Exception) -> Response:
    """The client ended the connection in the middle of its body: nobody reads the answer, and nothing of the body was kept."""
    log.info("client went away", method=request.method, path=request.url.path)
    return Response(status_code=400)


async def _on_unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises it again for the server's log; what is known of our inside does not go to the client.
    # Not as exc_info: a log that shows local variables would show tokens.
    trace = "".join(traceback.format_exception(error))
    log.error("request crashed", method=request.method, path=request.url.path, traceback=trace)
    detail = ErrorDetail(type="ServerError", message="the server failed on this request; its log says why")
    return _json(500, ErrorAnswer(error=detail))
