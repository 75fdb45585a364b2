"""Quotas per owner: refusals that name quota, value and limit; what the API and the command show."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support_auth import bearer, open_app, store_of
from support_store import SPEC, Clock, completed, fill, spec
from typer.testing import CliRunner

from service.cli import app
from service.client.client import Client
from service.errors import QuotaExceeded
from service.files.artifacts import ArtifactFiles
from service.http.feed import Feed
from service.http.open_streams import OpenStreams
from service.schemas.logins import Scope
from service.store import Store
from service.store.quotas import QuotaLimits
from sparsemod.records import Artifact

pytest_plugins = ["support_store_fixtures"]


def use(store: Store, files: ArtifactFiles, owner: str | None, content: bytes) -> int:
    """An experiment of the owner with a trial that has a file; the experiment still runs."""
    made = store.create_experiment(spec(), owner=owner).id
    fill(store, made, 2)
    claim = store.claim("w")
    assert claim is not None and claim.experiment == made
    info = files.add(content, store)
    file = Artifact(kind="weights", digest=info.digest, size=info.size, name="weights.bin")
    store.finish(claim.attempt, claim.token, completed(artifacts=(file,)))
    return made


def test_each_owner_has_a_quota(store: Store, tmp_path: Path, clock: Clock) -> None:
    files = ArtifactFiles(tmp_path / "artifacts", 10_000)
    store.quotas = QuotaLimits(disk=100, uploads=2, experiments=2)
    made = use(store, files, "ada", b"x" * 60)
    store.stop(made)
    assert store.quota_use("ada") == {"disk": 60, "uploads": 0, "experiments": 1}
    assert store.quota_use("bob") == store.quota_use(None) == {"disk": 0, "uploads": 0, "experiments": 0}
    info = files.add(b"y" * 41, store)
    with pytest.raises(
        QuotaExceeded, match=r"quota 'disk' of ada: 60 B of 100 B are used, and this needs 41 B"
    ):
        store.add_model("a.onnx", info.digest, 41, "stm32f446", "ada")
    assert store.add_model("a.onnx", info.digest, 41, "stm32f446", "bob").owner == "bob"
    store.create_experiment(spec(), "key", "ada")
    assert store.create_experiment(spec(), "key", "ada").id == made + 1  # a repeated request creates nothing
    with pytest.raises(QuotaExceeded, match="quota 'experiments' of ada: 2 of 2 are used"):
        store.create_experiment(spec(), owner="ada")
    store.create_experiment(spec(), owner="bob")
    store.delete_experiment(made + 1)
    store.create_experiment(spec(), owner="ada")
    small = files.add(b"z", store)
    for name in ("1.onnx", "2.onnx", "1.onnx"):
        store.add_model(name, small.digest, 1, "stm32f446", "ada")
    with pytest.raises(QuotaExceeded, match="quota 'uploads' of ada: 2 of 2 are used; delete models first"):
        store.add_model("3.onnx", small.digest, 1, "stm32f446", "ada")
    assert store.quota_use("ada") == {"disk": 61, "uploads": 2, "experiments": 2}  # equal content counts once


def test_running_experiments_wait_while_the_disk_quota_is_used_up(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    files = ArtifactFiles(tmp_path / "artifacts", 10_000)
    made = use(store, files, "ada", b"x" * 60)
    assert store.pause_over_quota() == []
    store.quotas = QuotaLimits(disk=60)
    assert store.pause_over_quota() == [made] and store.claim("w") is None
    paused = store.experiment(made).paused
    assert paused is not None and "quota 'disk' of ada: 60 B of 60 B are used" in paused
    revision = store.experiment(made).revision
    clock.advance(100.0)
    assert store.pause_over_quota() == [made]  # renewed, without another event
    assert store.experiment(made).revision == revision
    clock.advance(100.0)
    assert store.claim("w") is None
    store.quotas = QuotaLimits(disk=61)
    assert store.pause_over_quota() == []
    assert store.claim("w") is not None


def test_streams_are_counted_by_owner() -> None:
    streams = OpenStreams(QuotaLimits(streams=1))
    streams.begin("ada")
    streams.begin("bob")
    with pytest.raises(QuotaExceeded, match="quota 'streams' of ada: 1 of 1 are used; close other pages"):
        streams.begin("ada")
    streams.end("ada")
    streams.begin("ada")
    assert streams.used("ada") == 1 and streams.used("eve") == 0


def test_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_app(tmp_path, quota_experiments=1, quota_streams=1, min_free_bytes=0) as http:
        store = store_of(http)
        ada = bearer(store.create_token("ada", [Scope.WRITE])[0])
        admin = bearer(store.create_token("root", [Scope.ADMIN])[0])
        made = http.post("/experiments", json={"spec": SPEC}, headers=ada).json()["id"]
        refused = http.post("/experiments", json={"spec": SPEC}, headers=ada)
        assert refused.status_code == 409
        error = refused.json()["error"]
        assert (error["type"], error["field"], error["value"], error["allowed"]) == (
            "QuotaExceeded", "quota.experiments", "2", "at most 1",
        )  # fmt: skip
        streams: OpenStreams = http.app.state.open_streams  # type: ignore[attr-defined]
        streams.begin("ada")
        for path in ("/stream", f"/experiments/{made}/stream"):
            assert http.get(path, headers=ada).json()["error"]["field"] == "quota.streams"
        shown = http.get("/quota", headers=ada).json()
        assert shown["owner"] == "ada" and [(q["quota"], q["used"], q["limit"]) for q in shown["quotas"]] == [
            ("disk", 0, None), ("uploads", 0, None), ("experiments", 1, 1), ("streams", 1, 1),
        ]  # fmt: skip
        streams.end("ada")
        feed: Feed = http.app.state.feed  # type: ignore[attr-defined]
        held: list[int] = []

        async def sent(*_: object) -> AsyncIterator[bytes]:
            for _ in range(3):
                held.append(streams.used("ada"))
                yield b":\n\n"

        monkeypatch.setattr(feed, "experiment", sent)
        assert http.get(f"/experiments/{made}/stream", headers=ada).status_code == 200
        assert held == [1, 1, 1]
        monkeypatch.undo()
        assert streams.used("ada") == 0  # given back at the end of the stream
        assert http.get("/experiments/7777/stream", headers=ada).status_code == 404
        assert streams.used("ada") == 0
        assert http.get("/quota?owner=root", headers=ada).status_code == 403
        assert http.get("/quota?owner=ada", headers=admin).json()["quotas"] == [
            {**use, "used": 0} if use["quota"] == "streams" else use for use in shown["quotas"]
        ]


def test_the_client_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_app(tmp_path, quota_experiments=1, min_free_bytes=0) as http:

        class Direct(Client):
            def __init__(self, *_: object) -> None:
                super().__init__("http://testserver")
                self._http = http  # type: ignore[assignment]

        http.headers["host"] = "localhost"
        client = Direct()
        client.create_experiment(spec())
        with pytest.raises(QuotaExceeded, match="quota 'experiments': 1 of 1 are used") as refused:
            client.create_experiment(spec())
        assert (refused.value.field, refused.value.allowed) == ("quota.experiments", "at most 1")
        monkeypatch.setattr("service.cli.operating.connect", lambda *_: client)
        shown = CliRunner().invoke(app, ["quota"])
        assert shown.exit_code == 0 and "experiments                 1 of 1 experiments" in shown.output
        assert "0 B, no limit" in shown.output
