"""The HTTP client: typed answers, errors as exceptions, retries while the server is unavailable.

The client repeats every request that is safe to send twice: reads, reports of workers (fenced by the
attempt's token), and requests that create something, because each carries a unique Idempotency-Key.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import stamina
from pydantic import BaseModel, TypeAdapter, ValidationError

from service import errors as service_errors
from service import telemetry
from service.client.credentials import authorization
from service.client.exports import ExportCalls
from service.client.models import ModelCalls
from service.client.operator import OperatorCalls
from service.client.parsing import plain_json, valid_answer
from service.client.views import ViewCalls, spec_body
from service.schemas.errors import ErrorAnswer, ErrorDetail
from service.schemas.trials import (
    ArtifactInfo,
    Event,
    ExperimentSummary,
    ExperimentView,
    LogLine,
    Page,
    ParetoView,
    Retried,
    TrialView,
)
from service.schemas.workers import AttemptOutcome, Claim, Heartbeat
from sparsemod.errors import DigestMismatch, NoAnswer, ServerUnavailable
from sparsemod.files import NewFile, chunks, digest_of
from sparsemod.records import CurvePoint, TrialResult, Value
from sparsemod.spec.experiment import ExperimentSpec

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

ATTEMPTS = 4
"""How often a request is sent before the server counts as unavailable."""

PAGE = 500
"""Items per request when the client reads a whole list."""

_EVENTS = TypeAdapter(tuple[Event, ...])
_CURVE = TypeAdapter(tuple[CurvePoint, ...])
_LOG = TypeAdapter(tuple[LogLine, ...])


def claim_body(worker: str, device: str, slots: int) -> dict[str, Any]:
    """Return a new request for a trial. Its repetitions get the same answer."""
    return {"worker": worker, "device": device, "slots": slots, "request": uuid.uuid4().hex}


def _trace(request: httpx2.Request) -> None:
    telemetry.inject(request.headers)


class Client(ExportCalls, ModelCalls, OperatorCalls, ViewCalls):
    """Thread-safe client of the server at `url`; `close` it, or use it in a `with` statement.
    `token` defaults to the environment's. Every method raises ServerUnavailable when the server does not answer
    after several tries, ServerError when the server failed, and otherwise the error of its answer: NotFound,
    Conflict, StaleLease, InvalidInput and its subclasses, LoginNeeded, Forbidden.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 30.0,
        *,
        token: str | None = None,
        attempts: int = ATTEMPTS,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        # trust_env=False: a proxy for the internet must not stand between a worker and its server.
        header = authorization(token)
        hooks = {"request": [_trace]} if telemetry.enabled() else None
        self._http = httpx2.Client(
            base_url=self.url, timeout=timeout, transport=transport, trust_env=False, headers=header,
            event_hooks=hooks,
        )  # fmt: skip
        self._attempts = attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- experiments ------------------------------------------------------------------------------------------------------------------

    def create_experiment(self, spec: ExperimentSpec | Mapping[str, Any] | str) -> ExperimentView:
        """Create an experiment from a spec, its plain data, or YAML text."""
        return self._ask(ExperimentView, "POST", "/experiments", **spec_body(spec), keyed=True)

    def experiments(self, state: str | None = None) -> list[ExperimentSummary]:
        """Return all experiments, or those in `state`, newest first."""
        return list(self._pages(Page[ExperimentSummary], "/experiments", {"state": state}))

    def experiment(self, experiment: int) -> ExperimentView:
        """Return an experiment with its spec."""
        return self._ask(ExperimentView, "GET", f"/experiments/{experiment}")

    def stop(self, experiment: int) -> ExperimentView:
        """Hand out no more trials and end the running ones; `resume` continues all of them."""
        return self._ask(ExperimentView, "POST", f"/experiments/{experiment}/stop")

    def resume(self, experiment: int) -> ExperimentView:
        """Continue after `stop`, and end all pauses."""
        return self._ask(ExperimentView, "POST", f"/experiments/{experiment}/resume")

    def retry(self, experiment: int, trials: Iterable[int] | None = None) -> tuple[int, ...]:
        """Queue `trials` again, or all that failed by a fault; return their indices. Raises NotFound, Conflict."""
        body = {"trials": None if trials is None else list(trials)}
        return self._ask(Retried, "POST", f"/experiments/{experiment}/retry", body=body).trials

    def extend(
        self,
        experiment: int,
        rounds: Mapping[str, int] | None = None,
        budgets: Mapping[str, str | float | None] | None = None,
    ) -> ExperimentView:
        """Add trials (round -> number) and change budgets (metric -> limit, None removes it)."""
        body = {"rounds": dict(rounds or {}), "budgets": None if budgets is None else dict(budgets)}
        return self._ask(ExperimentView, "POST", f"/experiments/{experiment}/extend", body=body, keyed=True)

    def mend(self, experiment: int, spec: ExperimentSpec | Mapping[str, Any] | str) -> ExperimentView:
        """Replace a stored spec that no longer validates on the server."""
        return self._ask(ExperimentView, "POST", f"/experiments/{experiment}/mend", **spec_body(spec))

    def delete(self, experiment: int) -> None:
        """Delete an experiment for ever: its trials, and the files that no other one refers to. Raises NotFound."""
        self.experiment(experiment)
        # 404: an earlier try deleted it, and its answer was lost.
        self._send("DELETE", f"/experiments/{experiment}", accept=(404,))

    def events(self, experiment: int, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return the events with a counter above `after`."""
        return self._list(
            _EVENTS, f"/experiments/{experiment}/events", query={"after": after, "limit": limit}
        )

    # -- trials -----------------------------------------------------------------------------------------------------------------------

    def trials(self, experiment: int, **filters: Any) -> list[TrialView]:
        """Return all trials; filters: `state`, `round`, `origin`; sorted by `sort` in `order` ("asc" or "desc")."""
        return list(self._pages(Page[TrialView], f"/experiments/{experiment}/trials", filters))

    def trials_page(
        self, experiment: int, *, limit: int = 100, offset: int = 0, **filters: Any
    ) -> Page[TrialView]:
        """Return one page of the trials, and the number of all matches."""
        query = {**filters, "limit": limit, "offset": offset}
        return self._ask(Page[TrialView], "GET", f"/experiments/{experiment}/trials", query=query)

    def trials_csv(self, experiment: int) -> str:
        """Return all trials as CSV."""
        return self._send("GET", f"/experiments/{experiment}/trials", query={"format": "csv"}).text

    def trial(self, experiment: int, index: int) -> TrialView:
        """Return a trial with its attempts."""
        return self._ask(TrialView, "GET", f"/experiments/{experiment}/trials/{index}")

    def stop_trial(self, experiment: int, index: int) -> TrialView:
        """Stop one trial."""
        return self._ask(TrialView, "POST", f"/experiments/{experiment}/trials/{index}/stop")

    def curve(self, experiment: int, index: int) -> list[CurvePoint]:
        """Return a trial's learning curve."""
        return self._list(_CURVE, f"/experiments/{experiment}/trials/{index}/curve")

    def log(self, experiment: int, index: int, after: int = 0, limit: int = 1000) -> list[LogLine]:
        """Return a trial's log without its first `after` lines."""
        query = {"after": after, "limit": limit}
        return self._list(_LOG, f"/experiments/{experiment}/trials/{index}/log", query=query)

    def attach(
        self, experiment: int, parameters: Mapping[str, Value], epochs: int | None = None
    ) -> TrialView:
        """Queue the caller's candidate."""
        body = {"parameters": dict(parameters), "epochs": epochs}
        return self._ask(TrialView, "POST", f"/experiments/{experiment}/trials", body=body, keyed=True)

    # -- results ----------------------------------------------------------------------------------------------------------------------

    def pareto(self, experiment: int) -> ParetoView:
        """Return the Pareto front."""
        return self._ask(ParetoView, "GET", f"/pareto/{experiment}")

    def pareto_csv(self, experiment: int) -> str:
        """Return the Pareto front as CSV."""
        return self._send("GET", f"/pareto/{experiment}", query={"format": "csv"}).text

    def ax(self, experiment: int) -> dict[str, Any]:
        """Return the experiment as JSON for `ax.api.client.Client.load_from_json_file`."""
        content: dict[str, Any] = self._send("GET", f"/experiments/{experiment}/ax", timeout=600.0).json()
        return content

    def delete_model(self, number: int) -> None:
        """Delete an uploaded model that no experiment uses."""
        self._send("DELETE", f"/models/{number}")

    # -- files ------------------------------------------------------------------------------------------------------------------------

    def upload(self, content: bytes | Path) -> str:
        """Store a file and return its digest. Do not send a file that the server has already."""
        digest = digest_of(content)
        if self._send("HEAD", f"/artifacts/{digest}", accept=(404,)).status_code != 404:
            return digest

        def body() -> bytes | Iterator[bytes]:
            return content if isinstance(content, bytes) else chunks(content)

        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        response = self._send("PUT", f"/artifacts/{digest}", content=body, headers=headers)
        return self._parse(ArtifactInfo, response).digest

    def download(self, digest: str, path: Path) -> Path:
        """Download a file to `path` atomically. Raises DigestMismatch."""

        def fetch() -> Path:
            with NewFile(path) as file:
                with self._http.stream("GET", f"/artifacts/{digest}") as response:
                    if response.status_code >= 400:
                        response.read()
                        self._check(response)
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                if file.digest != digest:
                    raise DigestMismatch(f"download of {digest}", digest, file.digest)
                file.place()
            return path

        return self._patiently(fetch)

    # -- for workers -------------------------------------------------------------------------------------------------------------

    def claim(self, worker: str, device: str = "cpu", slots: int = 1, started: bool = False) -> Claim | None:
        """Claim a trial, or return None when none is queued. `started`: the first claim of a new process."""
        body = claim_body(worker, device, slots) | {"started": started}
        response = self._send("POST", "/claims", body=body)
        return None if response.status_code == 204 else self._parse(Claim, response)

    def heartbeat(self, attempt: int, token: str) -> Heartbeat:
        """Renew the lease. Raises StaleLease."""
        return self._ask(Heartbeat, "POST", f"/attempts/{attempt}/heartbeat", body={"token": token})

    def points(
        self,
        attempt: int,
        token: str,
        points: Sequence[CurvePoint] = (),
        log: Iterable[LogLine | Mapping[str, Any]] = (),
    ) -> Heartbeat:
        """Report curve points and log lines (`time`, `level`, `message`), and renew the lease. Raises StaleLease."""
        lines = [plain_json(line) if isinstance(line, LogLine) else dict(line) for line in log]
        body = {"token": token, "points": [plain_json(point) for point in points], "log": lines}
        return self._ask(Heartbeat, "POST", f"/attempts/{attempt}/points", body=body)

    def checkpoint(self, attempt: int, token: str, digest: str) -> None:
        """Record the uploaded file from which another attempt can resume. Raises StaleLease, NotFound."""
        self._send("POST", f"/attempts/{attempt}/checkpoint", body={"token": token, "digest": digest})

    def finish(
        self,
        attempt: int,
        token: str,
        result: TrialResult,
        following: tuple[str, str, int] | None = None,
    ) -> AttemptOutcome:
        """Report the end of an attempt. With `following` (worker, device, slots), the answer contains that worker's
        next trial, if one is queued. Raises StaleLease."""
        body: dict[str, Any] = {"token": token, "result": plain_json(result)}
        if following is not None:
            body["next"] = claim_body(*following)
        return self._ask(AttemptOutcome, "POST", f"/attempts/{attempt}/finish", body=body)

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _ask(self, model: type[M], method: str, path: str, **options: Any) -> M:
        return self._parse(model, self._send(method, path, **options))

    def _list(
        self, adapter: "TypeAdapter[tuple[T, ...]]", path: str, method: str = "GET", **sent: Any
    ) -> list[T]:
        return list(valid_answer(adapter.validate_json, self._send(method, path, **sent), "a list"))

    def _pages(self, model: type[Page[T]], path: str, filters: Mapping[str, Any]) -> Iterator[T]:
        offset = 0
        while True:
            page = self._ask(model, "GET", path, query={**filters, "limit": PAGE, "offset": offset})
            yield from page.items
            offset += len(page.items)
            if not page.items or offset >= page.total:
                return

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | Callable[[], bytes | Iterator[bytes]] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        keyed: bool = False,
        accept: tuple[int, ...] = (),
        timeout: float | None = None,
    ) -> httpx2.Response:
        """Send a request; repeat it while the server is unavailable. `keyed` adds an Idempotency-Key."""
        options: dict[str, Any] = {"headers": dict(headers or {})}
        if keyed:
            options["headers"]["idempotency-key"] = uuid.uuid4().hex
        if body is not None:
            options["headers"]["content-type"] = "application/json"
            content = json.dumps(body).encode()
        if query:
            options["params"] = {name: value for name, value in query.items() if value is not None}
        if timeout is not None:
            options["timeout"] = timeout
        return self._patiently(lambda: self._once(method, path, content=content, accept=accept, **options))

    def _once(
        self,
        method: str,
        path: str,
        *,
        content: bytes | Callable[[], bytes | Iterator[bytes]] | None = None,
        accept: tuple[int, ...] = (),
        **options: Any,
    ) -> httpx2.Response:
        try:
            response = self._http.request(
                method, path, content=content() if callable(content) else content, **options
            )
        except httpx2.TransportError as error:
            raise NoAnswer(f"no answer from {self.url}: {error or type(error).__name__}") from error
        if response.status_code >= 300 and response.status_code not in accept:
            self._check(response)  # this server never redirects
        return response

    def _patiently(self, request: Callable[[], T]) -> T:
        """Repeat `request` while the server is unavailable; transport errors become NoAnswer."""
        for attempt in stamina.retry_context(
            on=ServerUnavailable, attempts=self._attempts, wait_initial=0.1, wait_max=2.0, timeout=None
        ):
            with attempt:
                try:
                    return request()
                except httpx2.TransportError as error:
                    raise NoAnswer(f"no answer from {self.url}: {error or type(error).__name__}") from error
        raise NoAnswer(f"no answer from {self.url}")

    def _check(self, response: httpx2.Response) -> None:
        """Raise the exception that corresponds to an error answer."""
        try:
            detail = ErrorAnswer.model_validate_json(response.content).error
        except ValidationError:
            if response.status_code in (429, 502, 503, 504):
                raise ServerUnavailable(f"{self.url} answers {response.status_code}") from None
            if response.status_code == 404:
                detail = ErrorDetail(type="NotFound", message=f"{response.request.url}: not found")
                raise service_errors.exception(404, detail) from None
            message = f"{response.request.method} {response.request.url}: {response.status_code}, and the body is not a sparsemod answer"
            raise service_errors.ServerError(message) from None
        raise service_errors.exception(response.status_code, detail)

    def _parse(self, model: type[M], response: httpx2.Response) -> M:
        return valid_answer(model.model_validate_json, response, model.__name__)
