"""Retention deletes by age what nobody needs, and nothing else, on both databases."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support_store import Clock, Suggestion, completed, fault, fill, point, spec
from typer.testing import CliRunner

from service.cli import app
from service.files.artifacts import ArtifactFiles
from service.files.doctor import examine
from service.http.app import create_app
from service.http.feed import _Ring
from service.http.housekeeping import Housekeeping
from service.jobs.exports import Exports
from service.schemas.trials import Event, ExperimentState, LogLine
from service.settings import Settings
from service.store import Store, retention
from service.store.engine import moment
from service.store.retention_policy import DAY_SECONDS, Expired, Policy, total
from sparsemod.errors import Conflict, NotFound
from sparsemod.records import Artifact, Candidate

pytest_plugins = ["support_store_fixtures"]

ALL = Policy(artifacts=10.0, events=10.0, logs=10.0, audit=10.0)


@pytest.fixture
def files(tmp_path: Path) -> ArtifactFiles:
    return ArtifactFiles(tmp_path / "artifacts", 10_000)


def run(
    store: Store, files: ArtifactFiles, results: list[tuple[float, float]], parents: dict[int, int]
) -> int:
    """An experiment with a completed trial for each (error, size); each trial has a file and a log line."""
    made = store.create_experiment(spec(budgets={})).id
    for index, (error, size) in enumerate(results):
        origin = "morphism" if index in parents else "sobol"
        candidate = Candidate(
            parameters={"width": index}, origin=origin, round="r1", parent=parents.get(index)
        )
        fill(store, made, [Suggestion(candidate)])
        claim = store.claim("w")
        assert claim is not None and claim.trial == index
        store.points(claim.attempt, claim.token, [point(1)], [LogLine(time=1.0, level="info", message="x")])
        info = files.add(b"weights of %d" % index, store)
        file = Artifact(kind="weights", digest=info.digest, size=info.size, name="weights.bin")
        store.checkpoint(claim.attempt, claim.token, files.add(b"half of %d" % index, store).digest)
        store.finish(claim.attempt, claim.token, completed(error, size, artifacts=(file,)))
    return made


def over(store: Store, made: int) -> None:
    store.finish_experiment(made, ExperimentState.DONE, "all rounds are complete")


def left(store: Store, made: int) -> list[int]:
    return [trial.index for trial in store.trials(made)[0] if trial.artifacts]


# Trial 3 dominates 0, 1 and 2; its ancestors are 1 and 0. Trial 4 is on the front too, 5 is dominated.
RESULTS = [(0.5, 500.0), (0.4, 400.0), (0.45, 450.0), (0.1, 300.0), (0.2, 200.0), (0.3, 350.0)]
PARENTS = {3: 1, 1: 0}


def test_files_of_dominated_trials_go_and_those_that_are_needed_stay(
    store: Store, clock: Clock, files: ArtifactFiles
) -> None:
    made = run(store, files, RESULTS, PARENTS)
    front = [point.index for point in store.pareto(made).points]
    assert sorted(front) == [3, 4]
    clock.advance(20 * DAY_SECONDS)
    assert total(store.expire(ALL, files.remove)).trials == 0  # it still runs
    fill(store, made, [Suggestion(Candidate(parameters={}, origin="morphism", round="r1", parent=2))])
    child = store.claim("w")
    assert child is not None and child.parent is not None
    over(store, made)
    clock.advance(5 * DAY_SECONDS)
    assert total(store.expire(ALL, files.remove)).trials == 0  # too young
    clock.advance(6 * DAY_SECONDS)
    foreseen = total(store.expire(ALL, None, dry_run=True))
    assert foreseen.by_experiment == {made: [5]}  # the running trial needs its parent 2
    assert left(store, made) == [0, 1, 2, 3, 4, 5]
    store.keep(made, True, [5])
    assert total(store.expire(Policy(artifacts=10.0), files.remove)).trials == 0
    store.keep(made, False, [5])
    before = {digest.name for digest in files.root.rglob("*") if digest.is_file()}
    found = total(store.expire(Policy(artifacts=10.0), files.remove))
    after = {digest.name for digest in files.root.rglob("*") if digest.is_file()}
    assert (found.trials, found.files) == (1, 2) and found.bytes == len(b"weights of 5half of 5")
    assert len(before - after) == found.files and left(store, made) == [0, 1, 2, 3, 4]
    assert store.trial(made, 5).files_expired_at is not None and store.trial(made, 4).files_expired_at is None
    assert examine(store, files, content=True).healthy
    assert [one.index for one in store.pareto(made).points] == front
    clock.advance(1.0)
    assert total(store.expire(Policy(artifacts=10.0), files.remove)).nothing  # and no event says otherwise


def test_checkpoints_go_only_where_no_trial_can_resume(
    store: Store, clock: Clock, files: ArtifactFiles
) -> None:
    made = run(store, files, [(0.1, 100.0)], {})
    fill(store, made, 1)
    half = files.add(b"half of a retry", store).digest
    for _ in range(3):
        claim = store.claim("w")
        assert claim is not None
        store.checkpoint(claim.attempt, claim.token, half)
        store.finish(claim.attempt, claim.token, fault())
    over(store, made)
    clock.advance(30 * DAY_SECONDS)
    found = total(store.expire(Policy(artifacts=10.0), files.remove))
    assert (found.trials, found.files) == (0, 1)  # the checkpoint of the completed trial
    store.retry(made)
    again = store.claim("w")
    assert again is not None and again.checkpoint == half and files.has(half)


def test_what_another_experiment_uses_stays(store: Store, clock: Clock, files: ArtifactFiles) -> None:
    first = run(store, files, RESULTS[:2], {})
    second = run(store, files, RESULTS[:2], {})  # the same content
    store.keep(second, True)
    over(store, first)
    over(store, second)
    clock.advance(30 * DAY_SECONDS)
    foreseen = total(store.expire(Policy(artifacts=1.0), None, dry_run=True))
    found = total(store.expire(Policy(artifacts=1.0), files.remove))
    assert (foreseen.trials, foreseen.files) == (found.trials, found.files) == (1, 0)
    assert left(store, first) == [1] and left(store, second) == [0, 1]
    assert examine(store, files).healthy


def test_events_logs_and_audit_go_by_age(store: Store, clock: Clock, files: ArtifactFiles) -> None:
    old = run(store, files, RESULTS[:2], {})
    kept = run(store, files, RESULTS[:1], {})
    store.keep(kept, True)
    store.record("POST /experiments", "/experiments/1")
    clock.advance(11 * DAY_SECONDS)
    events = store.events(old)
    fill(store, old, 1)
    store.record("POST /experiments", "/experiments/2")
    policy = Policy(events=10.0, logs=10.0, audit=10.0)
    foreseen = total(store.expire(policy, None, dry_run=True))
    found = total(store.expire(policy, files.remove))
    assert foreseen == found
    assert found.counts() == {
        "trials": 0, "files": 0, "bytes": 0, "events": len(events), "log_lines": 2, "audit": 1,
    }  # fmt: skip
    assert [event.counter for event in store.events(old)] == [len(events) + 1]
    assert store.log(old, 0) == [] and len(store.log(kept, 0)) == 1 and len(store.curve(old, 0)) == 1
    assert len(store.audit_trail()) == 1
    # A page that knows an older state gets everything, not a part.
    assert store.points_since(old, 1).full and not store.points_since(old, len(events)).full
    assert store.events(kept)[0].counter == 1
    assert total(store.expire(policy, files.remove)).nothing


def test_no_transaction_deletes_many_entries(
    store: Store, clock: Clock, files: ArtifactFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH", 2)
    run(store, files, RESULTS[:3], {})
    for number in range(5):
        store.record("POST /experiments", f"/experiments/{number}")
    clock.advance(11 * DAY_SECONDS)
    policy = Policy(events=10.0, logs=10.0, audit=10.0)
    foreseen = total(store.expire(policy, None, dry_run=True))
    steps = list(store.expire(policy, files.remove))
    assert max(max(step.counts().values()) for step in steps) == 2
    assert total(steps) == foreseen and (foreseen.log_lines, foreseen.audit) == (3, 5)


def test_a_change_since_the_plan_stops_the_deletion(store: Store, clock: Clock, files: ArtifactFiles) -> None:
    made = run(store, files, RESULTS, PARENTS)
    over(store, made)
    clock.advance(30 * DAY_SECONDS)
    plan = store._plan(made, clock.now)
    assert plan is not None
    store.extend(made, {"r1": 1})
    assert store._expire_files(plan, files.remove).nothing and len(left(store, made)) == len(RESULTS)
    store.delete_experiment(made)
    with pytest.raises(NotFound):
        store.keep(made, True)


def test_a_stream_behind_deleted_events_says_reset() -> None:
    ring = _Ring(5)
    ring.restart(9)
    ring.add(Event(counter=10, time=moment(1.0), kind="trial", data={}))
    assert (ring.start, ring.head, len(ring.since(9))) == (9, 10, 1)


def test_the_stream_sends_reset(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path, min_free_bytes=0))) as http:
        store: Store = http.app.state.store  # type: ignore[attr-defined]
        made = store.create_experiment(spec()).id
        fill(store, made, 3)
        with store._write() as connection:
            connection.exec_driver_sql("DELETE FROM events")
        http.app.state.feed.end()  # type: ignore[attr-defined]
        # An ended feed sends what it has and closes.
        http.app.state.feed._ended.clear()  # type: ignore[attr-defined]
        with http.stream("GET", f"/experiments/{made}/stream?after=1") as answer:
            lines = []
            for line in answer.iter_lines():
                lines.append(line)
                if line.startswith("event: "):
                    http.app.state.feed.end()  # type: ignore[attr-defined]
        assert "event: reset" in lines and f"id: {store.experiment(made).revision}" in lines


def test_the_server_counts_and_logs_what_it_deleted(
    store: Store, clock: Clock, files: ArtifactFiles, tmp_path: Path
) -> None:
    made = run(store, files, RESULTS, PARENTS)
    over(store, made)
    clock.advance(30 * DAY_SECONDS)
    seen: list[Expired] = []
    found = Housekeeping(store, files, 1.0, Policy(artifacts=1.0), seen.append).expire()
    assert total(seen).counts() == found.counts() and found.trials == 2
    assert store.events(made)[-1].data == {"state": "done", "change": "expired", "trials": 2}
    exports = Exports(store, files, Settings(data_dir=tmp_path))
    with pytest.raises(Conflict, match="trial 5 has no network to export: retention has deleted its files"):
        exports.start(made, [5], ["c"], None)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, place = CliRunner(), ["--data-dir", str(tmp_path)]
    store = Store.open(f"sqlite:///{tmp_path / 'sparsemod.db'}")
    files = ArtifactFiles(tmp_path / "artifacts", 10_000)
    made = run(store, files, RESULTS, PARENTS)
    over(store, made)
    now = store.clock()
    with store._write() as connection:
        connection.exec_driver_sql(f"UPDATE experiments SET finished_at = {now - 40 * DAY_SECONDS}")
        connection.exec_driver_sql(f"UPDATE trials SET finished_at = {now - 40 * DAY_SECONDS}")
    assert "retention deleted nothing" in runner.invoke(app, ["vacuum", *place]).output
    monkeypatch.setenv("SPARSEMOD_RETENTION_ARTIFACT_DAYS", "30")
    due = runner.invoke(app, ["doctor", *place])
    assert due.exit_code == 0 and "retention is due: 8 files" in due.output
    dry = runner.invoke(app, ["vacuum", "--dry-run", *place])
    assert "experiment 1: files of 2 trials (2, 5)" in dry.output and "would delete 8 files" in dry.output
    assert left(store, made) == [0, 1, 2, 3, 4, 5]
    assert "retention deleted 8 files" in runner.invoke(app, ["vacuum", *place]).output
    assert left(store, made) == [0, 1, 3, 4]
    store.close()
