"""The dashboard's requests: columns, timeline, deleting, draining."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import save
from starlette.testclient import TestClient
from support_auth import open_app, store_of
from support_store import (
    SPEC,
    Clock,
    Suggestion,
    completed,
    fault,
    fill,
    finish,
    spec,
    stored_artifact,
    suggestions,
)

from service.schemas.dashboard import Points
from service.store import Store
from service.store.tables import metadata
from sparsemod.errors import NotFound
from sparsemod.records import Artifact, Candidate

pytest_plugins = ["support_store_fixtures"]


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with open_app(tmp_path, max_artifact_bytes=10_000_000) as client:
        yield client


def put(http: TestClient, content: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    answer = http.put(f"/artifacts/{digest}", content=content)
    assert answer.status_code == 200, answer.text
    return digest


# -- columns ------------------------------------------------------------------------------------------------------------------------


def test_points_are_all_trials_and_then_the_changes(store: Store) -> None:
    made = store.create_experiment(spec()).id
    morph = Candidate(
        parameters={"width": 9, "deep": True}, origin="morphism", round="r3", parent=0, operators=("widen",)
    )
    over = Suggestion(morph, costs={"model_size": 5000.0}, feasible=False, over={"model_size": 4000.0})
    fill(store, made, [*suggestions(3), over])
    finish(store, completed(0.123456789))
    whole = store.points_since(made)
    assert whole.full and whole.index == [0, 1, 2, 3]
    assert [whole.states[s] for s in whole.state] == ["completed", "queued", "queued", "infeasible"]
    assert [whole.rounds[r] for r in whole.round] == ["r1", "r1", "r1", "r3"]
    assert [whole.origins[o] for o in whole.origin] == ["sobol"] * 3 + ["morphism"]
    assert whole.parent == [None, None, None, 0] and whole.operators == {"3": ["widen"]}
    # Measured where it was, else the costs known beforehand; "error" only of the completed one.
    assert whole.values == {"error": [0.123457, None, None, None], "model_size": [500.0, 10.0, 20.0, 5000.0]}
    assert whole.parameters == {"width": [0, 1, 2, 9], "deep": [None, None, None, True]}
    assert whole.finished[0] == whole.revision and whole.finished[1] is None
    assert store.points_since(made, whole.revision).index == []
    finish(store)
    part = store.points_since(made, whole.revision)
    assert not part.full and part.index == [1] and part.values["error"] == [0.25]
    # A revision that was never reached means another database: everything.
    assert store.points_since(made, 10_000).full
    with pytest.raises(NotFound):
        store.points_since(77)


def test_points_hold_the_front_and_the_history_of_the_front_page(store: Store) -> None:
    made = store.create_experiment(spec(reference_point={"error": 1.0, "model_size": 1000.0})).id
    fill(store, made, 4)
    finish(store, completed(0.5, 500.0))
    first = store.points_since(made)
    finish(store, completed(0.6, 900.0))
    finish(store, completed(0.2, 800.0))

    def agree(points: Points) -> None:
        pareto = store.pareto(made)
        for place, index in enumerate(points.index):
            known = store.trial(made, index).known_values()
            assert {
                name: column[place] for name, column in points.values.items() if column[place] is not None
            } == known
        volumes = {i: v for i, v in zip(points.index, points.hypervolume, strict=True) if v is not None}
        assert sorted(points.front) == sorted(point.index for point in pareto.points)
        assert volumes.items() <= {entry.index: entry.hypervolume for entry in pareto.history}.items()

    later = store.points_since(made, first.revision)
    assert not later.full and later.hypervolume.count(None) == 0 and sorted(later.front) == [0, 2]
    for points in (later, store.points_since(made)):
        agree(points)
    store.extend(made, {}, {"model_size": 600})
    changed = store.points_since(made, later.revision)
    assert changed.full, "the new budget changes the hypervolume after every trial"
    assert changed.front == [0] and changed.hypervolume[3] is None
    agree(changed)


def test_points_of_very_many_changes_are_all_of_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.store import series

    made = store.create_experiment(spec()).id
    fill(store, made, 5)
    assert store.points_since(made, 2).index == [1, 2, 3, 4]
    monkeypatch.setattr(series, "_MANY", 3)
    assert store.points_since(made, 2).full and store.points_since(made, 3).index == [2, 3, 4]


def test_points_over_http_are_compressed_on_request(http: TestClient) -> None:
    store = store_of(http)
    made = store.create_experiment(spec()).id
    fill(store, made, 300)
    packed = http.get(f"/experiments/{made}/points")
    assert packed.headers["content-encoding"] == "gzip"
    plain = http.get(f"/experiments/{made}/points", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.json() == packed.json()
    assert int(packed.headers["content-length"]) < len(plain.content) / 4
    assert http.get("/experiments/77/points").status_code == 404


def test_the_timeline_shows_attempts(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    start = clock()
    finish(store, fault())
    clock.advance(10)
    finish(store)
    clock.advance(10)
    assert store.claim("other", "gpu:0") is not None
    found = store.timeline(made)
    assert (found.workers, found.devices) == (("other", "w"), ("gpu:0", "cpu"))
    assert found.trial == [0, 0, 1] and found.worker == [1, 1, 0]
    assert found.state == ["failed", "completed", "running"]
    assert found.started == [start, start + 10, start + 20] and found.ended == [start, start + 10, None]
    assert found.now == start + 20
    assert store.timeline(made, start + 5).trial == [0, 1]


# -- deleting, draining --------------------------------------------------------------------------------------------------------------


def test_an_experiment_is_deleted_with_its_rows_and_files(store: Store) -> None:
    shared = stored_artifact(store, b"shared")
    own = stored_artifact(store, b"own", name="own")
    last = stored_artifact(store, b"checkpoint")
    stray = stored_artifact(store, b"of an upload under way")
    first, second = (store.create_experiment(spec(), key=key).id for key in "ab")
    fill(store, first, 2)
    finish(store, completed(artifacts=(shared, own)))
    held = store.claim("w")
    assert held is not None
    store.checkpoint(held.attempt, held.token, last.digest)
    fill(store, second, 1)
    finish(store, completed(artifacts=(shared,)))
    store.keep_computed_view(first, "graph", "k", {"x": 1})
    used = store.delete_experiment(first)
    assert used == sorted([own.digest, last.digest, shared.digest])
    removed: list[str] = []
    assert store.drop(used, removed.append) == 2 and removed == sorted([own.digest, last.digest])
    assert store.known_artifacts([shared.digest, own.digest, last.digest, stray.digest]) == {
        shared.digest, stray.digest,
    }  # fmt: skip
    with pytest.raises(NotFound):
        store.experiment(first)
    with pytest.raises(NotFound):
        store.delete_experiment(first)
    with pytest.raises(NotFound):
        store.heartbeat(held.attempt, held.token)  # the worker drops it
    store.keep_computed_view(first, "graph", "late", {})
    with store.engine.connect() as connection:
        for table in metadata.sorted_tables:
            if "experiment_id" in table.c and table.name != "deletions":
                found = connection.execute(
                    sa.select(sa.func.count()).where(table.c.experiment_id == first)
                ).scalar()
                assert found == 0, table.name
    assert store.experiment(second).counts["completed"] == 1  # type: ignore[index]
    assert store.pareto(second).points[0].artifacts[0].digest == shared.digest


def test_the_number_of_a_deleted_experiment_is_never_used_again(store: Store) -> None:
    first = store.create_experiment(spec()).id
    newest = store.create_experiment(spec()).id
    store.delete_experiment(newest)
    assert store.create_experiment(spec()).id > newest
    store.delete_experiment(first)
    assert store.create_experiment(spec()).id > newest + 1


def test_deleting_over_http_removes_the_files(http: TestClient, tmp_path: Path) -> None:
    store = store_of(http)
    made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
    fill(store, made, 1)
    content = save({"w": np.ones(5, dtype=np.float32)})
    digest = put(http, content)
    finish(
        store,
        completed(
            artifacts=(Artifact(kind="weights", digest=digest, size=len(content), name="w.safetensors"),)
        ),
    )
    assert len([p for p in (tmp_path / "artifacts").rglob("*") if p.is_file()]) == 1
    assert http.delete(f"/experiments/{made}").status_code == 204
    assert [p for p in (tmp_path / "artifacts").rglob("*") if p.is_file()] == []
    assert http.get(f"/artifacts/{digest}").status_code == 404
    assert http.delete(f"/experiments/{made}").status_code == 404


def test_a_draining_worker_gets_no_trial_and_keeps_its_trials(http: TestClient) -> None:
    store = store_of(http)
    fill(store, store.create_experiment(spec()).id, 3)
    name = "rack/3 left"
    held = http.post("/claims", json={"worker": name}).json()
    where = "/workers/rack%2F3%20left/drain"
    assert http.post("/workers/nobody/drain", json={}).status_code == 404
    assert http.post(where, json={"drain": True}).status_code == 204
    (view,) = http.get("/workers").json()
    assert view["draining"] and view["alive"] and view["trials"] == [[1, 0]]
    assert http.post("/claims", json={"worker": name}).status_code == 204
    assert http.post("/claims", json={"worker": "other"}).status_code == 200
    beat = http.post(f"/attempts/{held['attempt']}/heartbeat", json={"token": held["token"]})
    assert beat.json()["stop"] is False
    assert http.post(where, json={"drain": False}).status_code == 204
    assert http.post("/claims", json={"worker": name}).status_code == 200
