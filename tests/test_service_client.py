"""The client against the real application, and against servers that are away or answer nonsense."""

import contextlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import stamina
from safetensors.numpy import save
from starlette.testclient import TestClient
from support_store import SPEC, completed, fill, point, spec

from service.client.client import Client
from service.errors import STATUS, ServerError, TooLarge, answer, exception, status_of
from service.http.app import create_app
from service.http.auth import RULES
from service.schemas.trials import ExperimentState
from service.settings import Settings
from service.store import Store
from sparsemod import errors
from sparsemod.records import Artifact, TrialState


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    stamina.set_testing(True, attempts=3, cap=True)
    yield
    stamina.set_testing(False)


class Bridge(httpx2.BaseTransport):
    """Hands the client's requests to the application; `lost` drops that many answers to what changes something, after the server did it."""

    def __init__(self, app: TestClient) -> None:
        self.app, self.lost, self.sent = app, 0, 0
        self.hear: Callable[[str], object] = lambda line: None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent += 1
        path = request.url.raw_path.decode()
        self.hear(f"{request.method} {request.url.path}")
        found = self.app.request(request.method, path, content=request.read(), headers=dict(request.headers))
        if self.lost and request.method not in ("GET", "HEAD"):
            self.lost -= 1
            raise httpx2.ReadError("the answer was lost")
        headers = {
            k: v for k, v in found.headers.items() if k not in ("content-encoding", "transfer-encoding")
        }
        return httpx2.Response(found.status_code, headers=headers, content=found.content, request=request)


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    settings = Settings(data_dir=tmp_path / "data", max_artifact_bytes=100_000)
    with TestClient(create_app(settings), raise_server_exceptions=False) as app:
        yield Bridge(app)


@pytest.fixture
def client(bridge: Bridge) -> Iterator[Client]:
    with Client("http://localhost/", transport=bridge) as made:
        yield made


@pytest.fixture
def store(bridge: Bridge) -> Store:
    found: Store = bridge.app.app.state.store  # type: ignore[attr-defined]
    return found


def test_everything_a_user_does(client: Client, store: Store) -> None:
    made = client.create_experiment(spec())
    assert made.spec == spec() and client.experiment(made.id) == made
    assert client.create_experiment(json.dumps(SPEC)).id == made.id + 1
    assert client.create_experiment(SPEC).id == made.id + 2
    assert [e.id for e in client.experiments()] == [made.id + 2, made.id + 1, made.id]
    assert client.stop(made.id).state is ExperimentState.STOPPED
    assert client.resume(made.id).state is ExperimentState.RUNNING
    assert client.extend(made.id, {"r1": 2}, {"size": None}).spec.budgets == {}
    fill(store, made.id, 3)
    claim = client.claim("w")
    assert claim is not None
    client.finish(claim.attempt, claim.token, completed())
    assert client.trial(made.id, 0).state is TrialState.COMPLETED
    assert [t.index for t in client.trials(made.id)] == [0, 1, 2]
    assert client.trials_page(made.id, limit=1, state="queued").total == 2
    assert client.stop_trial(made.id, 2).state is TrialState.STOPPED
    assert client.pareto(made.id).points[0].index == 0
    assert client.pareto_csv(made.id).startswith("trial,") and client.trials_csv(made.id).count("\n") == 4
    assert client.events(made.id)[0].kind == "experiment"
    assert client.workers()[0].name == "w" and client.health().status == "ok"
    client.drain("w")
    assert client.workers()[0].draining
    client.drain("w", False)
    assert not client.workers()[0].draining
    assert client.check(spec()).spec == spec() and client.me().open
    assert {one.name for one in client.catalogue().datasets} >= {"digits"}
    assert client.timeline(made.id).trial == [0] and client.device_fits(made.id)[0].trial == 0
    client.delete(made.id)
    assert [e.id for e in client.experiments()] == [made.id + 2, made.id + 1]


def test_everything_a_worker_does(client: Client, store: Store, tmp_path: Path) -> None:
    made = client.create_experiment(spec()).id
    fill(store, made, 1)
    claim = client.claim("w", "gpu:0", 2)
    assert claim is not None and client.claim("w") is None
    assert not client.heartbeat(claim.attempt, claim.token).stop
    lines = [{"time": 1.0, "level": "info", "message": "hello"}]
    client.points(claim.attempt, claim.token, [point(1, math.nan)], lines)
    assert math.isnan(client.curve(made, 0)[0].train_loss) and client.log(made, 0)[0].message == "hello"
    file = tmp_path / "weights"
    file.write_bytes(save({"w": np.zeros(12_000, dtype=np.float32)}))
    digest = client.upload(file)
    assert client.upload(file.read_bytes()) == digest
    client.checkpoint(claim.attempt, claim.token, digest)
    artifact = Artifact(kind="weights", digest=digest, size=file.stat().st_size, name="weights.safetensors")
    result = completed(artifacts=(artifact,))
    finished = client.finish(claim.attempt, claim.token, result)
    assert client.finish(claim.attempt, claim.token, result) == finished
    assert client.download(digest, tmp_path / "copy").read_bytes() == file.read_bytes()
    with pytest.raises(errors.StaleLease):
        client.heartbeat(claim.attempt, claim.token)


def test_errors_come_back_as_they_were_raised(client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidSpec) as spec_error:
        client.create_experiment({**SPEC, "objectives": ["speed"]})
    assert spec_error.value.field == "objectives.0" and "'speed'" in str(spec_error.value)
    with pytest.raises(errors.UnknownName, match="known: "):
        client.create_experiment({**SPEC, "network": {"family": "x"}})
    with pytest.raises(errors.NotFound, match="no experiment 7"):
        client.experiment(7)
    with pytest.raises(errors.NotFound):
        client.download("sha256:" + "0" * 64, tmp_path / "x")
    assert list(tmp_path.glob("*x*")) == []
    with pytest.raises(TooLarge):
        client.upload(b"x" * 100_001)
    with pytest.raises(errors.InvalidInput, match="a file that can be read"):
        client.upload(tmp_path / "none")
    with pytest.raises(errors.InvalidInput, match="sort"):
        client.trials(client.create_experiment(SPEC).id, sort="speed")


def test_a_lost_answer_makes_nothing_twice(client: Client, bridge: Bridge, store: Store) -> None:
    def losing(request: Callable[[], object]) -> object:
        bridge.lost = 1
        return request()

    losing(lambda: client.create_experiment(spec()))
    assert len(client.experiments()) == 1
    fill(store, 1, 2)
    claim = client.claim("w")
    losing(lambda: client.claim("w"))
    assert store.experiment(1).counts[TrialState.RUNNING] == 2
    assert claim is not None
    losing(
        lambda: client.points(
            claim.attempt, claim.token, [point(1)], [{"time": 1, "level": "i", "message": "m"}]
        )
    )
    assert len(client.log(1, 0)) == 1
    losing(lambda: client.finish(claim.attempt, claim.token, completed()))
    assert store.experiment(1).counts[TrialState.COMPLETED] == 1
    losing(lambda: client.extend(1, {"r1": 5}))
    assert client.experiment(1).spec.source.rounds.r1.trials == 9
    losing(lambda: client.upload(b"content"))
    losing(lambda: client.delete(1))
    with pytest.raises(errors.NotFound, match="no experiment 1"):
        client.delete(1)


def test_a_server_that_is_away() -> None:
    tries = []

    def away(request: httpx2.Request) -> httpx2.Response:
        tries.append(request.url.path)
        raise httpx2.ConnectError("refused")

    with Client("http://test", transport=httpx2.MockTransport(away)) as client:
        with pytest.raises(errors.ServerUnavailable, match="http://test"):
            client.experiments()
        assert len(tries) == 3
        with pytest.raises(errors.ServerUnavailable):
            client.health()
        assert len(tries) == 4


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, "<html>", errors.ServerUnavailable),
        (500, "<html>", ServerError),
        (404, "<html>", errors.NotFound),
        (200, "<html>", ServerError),
        (200, "[]", ServerError),
        (418, "{}", ServerError),
    ],
)
def test_a_server_that_is_none_of_ours(status: int, body: str, kind: type[Exception]) -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(status, text=body))
    with Client("http://test", transport=transport) as client, pytest.raises(kind):
        client.experiment(1)


def test_a_download_of_another_file(tmp_path: Path) -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"other"))
    with Client("http://test", transport=transport) as client, pytest.raises(errors.DigestMismatch):
        client.download("sha256:" + "0" * 64, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidSpec("a.b", 3, "at most 2"),
        errors.InvalidCandidate("p", "x", "y"),
        errors.UnknownName("n", "x", ["a"]),
        errors.InvalidInput("f", None, "z"),
        TooLarge("body", 3, "2"),
        errors.NotFound("trial", 3),
        errors.Conflict("no"),
        errors.StaleLease("lost"),
        errors.ServerUnavailable("away"),
    ],
)
def test_every_error_survives_the_way(error: errors.SparsemodError) -> None:
    again = exception(status_of(error), answer(error).error)
    assert (type(again), str(again)) == (type(error), str(error))


def test_every_exception_of_ours_has_a_status() -> None:
    def tree(kind: type[errors.SparsemodError]) -> Iterator[type[errors.SparsemodError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    internal = {"SparsemodError", "ServerError", "SupervisionFailed", "ForkServerBroken", "SearchError"}
    known = {kind for kind in tree(errors.SparsemodError) if kind.__module__ == "sparsemod.errors"}
    assert {kind.__name__ for kind in known if not any(base in STATUS for base in kind.__mro__)} <= internal


PAGE_ONLY = {
    "GET /", "GET /docs", "GET /dashboard/{name}", "POST /login", "POST /logout", "GET /experiments/{experiment}/points",
    "GET /stream", "GET /experiments/{experiment}/stream", "GET /metrics",
}  # fmt: skip
"""Pages, cookies, columns for plots, streams, and figures for Prometheus; programs ask for pages of trials, and for events."""


def test_every_route_has_a_method(client: Client, bridge: Bridge, tmp_path: Path) -> None:
    made = client.create_experiment(SPEC).id
    given = {
        "index": 0, "attempt": 1, "token": "t", "worker": "w", "spec": SPEC, "parameters": {}, "formats": ["c"], "content": b"x",
        "digest": "sha256:" + "0" * 64, "path": tmp_path / "x", "result": completed(),
        "number": 1, "body": {}, "name": "m.onnx", "webhook": 1, "url": "https://ci.example/hook",
    }  # fmt: skip
    asked: set[str] = set()
    patterns = {rule: re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\w+:path\}", ".+", rule)) for rule in RULES}
    bridge.hear = lambda line: asked.update(
        rule for rule, pattern in patterns.items() if re.fullmatch(pattern, line)
    )
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_") or name == "close":
            continue
        wanted = [p.name for p in inspect.signature(method).parameters.values() if p.default is p.empty][1:]
        known = {**given, "experiment": made if name == "delete" else made + 1}
        with contextlib.suppress(errors.SparsemodError):
            method(client, **{word: known[word] for word in wanted if word != "filters"})
    with pytest.raises(errors.NotFound):
        client.exports(made + 1, 0)
    assert RULES.keys() - asked == PAGE_ONLY
