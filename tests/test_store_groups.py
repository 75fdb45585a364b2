"""Reports of several workers in one transaction, on SQLite and PostgreSQL: the same result as one by one."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from support_store import Clock, Suggestion, completed, fault, fill, point, spec, stored_artifact

from service.schemas.trials import AttemptState, LogLine
from service.schemas.workers import AttemptOutcome, Claim, ClaimRequest
from service.store import Store
from service.store.groups import Groups, Report
from service.store.tables import experiments, trials
from sparsemod.errors import Conflict, InvalidInput, NotFound, ServerUnavailable, StaleLease
from sparsemod.records import Artifact, Candidate, TrialResult, TrialState

pytest_plugins = ["support_store_fixtures"]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The attempts whose reports were handled by themselves."""
    handled: list[int] = []
    before = Groups._by_itself

    def by_itself(self: Groups, report: Report, outcome: Any) -> AttemptOutcome:
        handled.append(report.attempt)
        return before(self, report, outcome)

    monkeypatch.setattr(Groups, "_by_itself", by_itself)
    return handled


def claims(store: Store, count: int) -> list[Claim]:
    found = [store.claim(f"w{number}") for number in range(count)]
    return [claim for claim in found if claim is not None]


def report(claim: Claim, worker: str, result: TrialResult | None = None, **fields: Any) -> Report:
    ask = ClaimRequest(worker=worker, request=f"next-{claim.attempt}")
    return Report(claim.attempt, claim.token, result or completed(), ask, **fields)


def outcomes(answers: list[Any]) -> list[AttemptOutcome]:
    assert all(isinstance(answer, AttemptOutcome) for answer in answers), answers
    return answers


def nexts(answers: list[Any]) -> list[int | None]:
    return [None if one.next is None else one.next.trial for one in outcomes(answers)]


def test_a_group_stores_what_single_reports_store(store: Store, alone: list[int]) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 8)
    files = [stored_artifact(store, b"a"), stored_artifact(store, b"b", "network", "network.npz")]
    held = claims(store, 3)
    results = [
        completed(0.1 * (1 + number), curve=(point(1), point(2)), seconds={"train": 1.5}, notes=("n",), artifacts=tuple(files))
        for number in range(3)
    ]  # fmt: skip
    lines = [LogLine(time=1.5, level="info", message="a\x00b"), LogLine(time=1.5, level="info", message="c")]
    answers = store.finish_and_claim_all(
        [
            report(c, c_name, r, log=lines)
            for c, c_name, r in zip(held, ("w0", "w1", "w2"), results, strict=True)
        ]
    )
    assert nexts(answers) == [3, 4, 5] and alone == []
    assert [(one.trial, one.state) for one in outcomes(answers)] == [
        (n, TrialState.COMPLETED) for n in range(3)
    ]
    for number, result in enumerate(results):
        trial = store.trial(made, number)
        assert trial.state is TrialState.COMPLETED and trial.finished_at is not None
        assert trial.measurements == result.measurements and trial.notes == ("n",)
        assert (trial.trained_epochs, trial.seconds) == (2.0, {"train": 1.5})
        assert {(a.kind, a.digest, a.size, a.name) for a in trial.artifacts} == {
            (f.kind, f.digest, f.size, f.name) for f in files
        }
        assert [(a.worker, a.state) for a in trial.attempts] == [(f"w{number}", AttemptState.COMPLETED)]
        assert store.curve(made, number) == list(result.curve)
        assert [line.message for line in store.log(made, number)] == ["a\N{REPLACEMENT CHARACTER}b", "c"]
    for number, answer in enumerate(outcomes(answers)):
        assert answer.next is not None and answer.next.lease_seconds == 60.0
        (attempt,) = store.trial(made, 3 + number).attempts
        assert (attempt.attempt, attempt.worker) == (answer.next.attempt, f"w{number}")
        store.heartbeat(answer.next.attempt, answer.next.token)
    seen = store.events(made)
    assert [event.counter for event in seen] == list(range(1, len(seen) + 1))
    happened = [(e.data["index"], e.data["state"]) for e in seen if e.kind == "trial"][-6:]
    assert happened == [(0, "completed"), (3, "running"), (1, "completed"), (4, "running"), (2, "completed"), (5, "running")]  # fmt: skip
    with store.engine.connect() as connection:
        rows = connection.execute(
            sa.select(trials.c.index, trials.c.finished_event).where(trials.c.index < 3)
        )
        ends = {row[0]: row[1] for row in rows}
    assert ends == {e.data["index"]: e.counter for e in seen if e.data.get("state") == "completed"}
    again = store.finish_and_claim_all([report(c, f"w{n}", results[n]) for n, c in enumerate(held)])
    assert again == answers and alone == [claim.attempt for claim in held]


def test_a_wrong_report_fails_alone(store: Store, alone: list[int]) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 12)
    held = claims(store, 6)
    missing = Artifact(kind="weights", digest="sha256:" + "0" * 64, size=1, name="w")
    stale = Report(held[1].attempt, "not it", completed(), ClaimRequest(worker="w1"))
    unknown = Report(10_000, held[0].token, completed(), ClaimRequest(worker="w5"))
    answers = store.finish_and_claim_all(
        [
            report(held[0], "w0"),
            stale,
            report(held[2], "w2", TrialResult(state=TrialState.COMPLETED)),
            report(held[3], "w3", completed(artifacts=(missing,))),
            report(held[4], "w4", fault()),
            unknown,
            report(held[5], "w5"),
        ]
    )
    kinds: list[type[Any]] = [
        AttemptOutcome, StaleLease, InvalidInput, InvalidInput, AttemptOutcome, NotFound, AttemptOutcome,
    ]  # fmt: skip
    assert [type(answer) for answer in answers] == kinds
    assert "result.artifacts.0.digest" in str(answers[3])
    good = [answer for answer in answers if isinstance(answer, AttemptOutcome)]
    assert [(a.trial, a.state.value) for a in good] == [(0, "completed"), (4, "queued"), (5, "completed")]
    assert nexts([good[0], good[2]]) == [6, 7] and good[1].next is not None
    assert alone == [held[1].attempt, held[4].attempt, 10_000]
    for number in (1, 2, 3):
        assert store.trial(made, number).state is TrialState.RUNNING
        store.heartbeat(held[number].attempt, held[number].token)


def test_a_request_that_was_used_already_does_not_fail_the_others(store: Store, alone: list[int]) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 8)
    held = claims(store, 2)
    assert store.claim("v", request="used", login=7) is not None
    bad = Report(held[0].attempt, held[0].token, completed(), ClaimRequest(worker="w0", request="used"))
    answers = store.finish_and_claim_all([bad, report(held[1], "w1")])
    assert isinstance(answers[0], Conflict) and isinstance(answers[1], AttemptOutcome)
    assert len(alone) == 2 and answers[1].next is not None
    assert [store.trial(made, number).state.value for number in (0, 1)] == ["completed", "completed"]


def test_the_same_report_twice_in_a_group_counts_once(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 4)
    (held,) = claims(store, 1)
    answers = store.finish_and_claim_all([report(held, "w0"), report(held, "w0")])
    assert answers[0] == answers[1] and nexts(answers) == [1, 1]
    assert [attempt.state.value for attempt in store.trial(made, 0).attempts] == ["completed"]
    assert store.trial(made, 2).state is TrialState.QUEUED


def drain(store: Store) -> None:
    store.drain_worker("w1", True)


def pause_worker(store: Store) -> None:
    store.pause("worker", "no data", worker="w1")


def pause_here(store: Store) -> None:
    store.pause("worker", "no data", worker="w1", experiment=1)


def pause_all(store: Store) -> None:
    store.pause("space", "the disk is full")


def pause_experiment(store: Store) -> None:
    store.pause("files", "files are missing", experiment=1)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (drain, [3, None, 4]),
        (pause_worker, [3, 5, 4]),  # its success ends the pause
        (pause_here, [3, 5, 4]),
        (pause_all, [None, None, None]),
        (pause_experiment, [None, None, None]),
    ],
)
def test_pauses_and_draining_apply_to_each_claim(
    store: Store, limit: Callable[[Store], None], expected: list[int | None]
) -> None:
    fill(store, store.create_experiment(spec()).id, 8)
    held = claims(store, 3)
    limit(store)
    answers = store.finish_and_claim_all([report(c, f"w{n}") for n, c in enumerate(held)])
    assert nexts(answers) == expected


def test_a_group_may_span_experiments_and_ends_with_the_queue(store: Store, alone: list[int]) -> None:
    first, second = (store.create_experiment(spec()).id for _ in range(2))
    fill(store, first, 3)
    fill(store, second, 2)
    held = claims(store, 3)
    answers = outcomes(store.finish_and_claim_all([report(c, f"w{n}") for n, c in enumerate(held)]))
    assert [(a.next.experiment, a.next.trial) if a.next else None for a in answers] == [
        (second, 0),
        (second, 1),
        None,
    ]
    assert alone == [] and store.finish(held[2].attempt, held[2].token, completed()) is not None
    for made in (first, second):
        counters = [event.counter for event in store.events(made)]
        assert counters == list(range(1, len(counters) + 1))


def test_unreadable_trials_are_skipped(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 6)
    held = claims(store, 2)
    with store.engine.begin() as connection:
        connection.execute(sa.update(trials).where(trials.c.index == 2).values(parameters=[1]))
    answers = store.finish_and_claim_all([report(c, f"w{n}") for n, c in enumerate(held)])
    assert nexts(answers) == [3, 4]
    held = [one.next for one in outcomes(answers) if one.next is not None]
    assert nexts(store.finish_and_claim_all([report(held[0], "w0")])) == [5]


def test_a_morph_in_a_group_gets_its_parents_files(store: Store, alone: list[int]) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    held = claims(store, 2)
    weights = stored_artifact(store, b"weights")
    child = Candidate(parameters={"width": 2}, origin="morphism", round="r3", parent=0, operators=("widen",))
    store.finish(held[0].attempt, held[0].token, completed(artifacts=(weights,)))
    fill(store, made, [Suggestion(child)])
    (answer,) = outcomes(store.finish_and_claim_all([report(held[1], "w1")]))
    assert answer.next is not None and answer.next.parent is not None and alone == []
    assert answer.next.parent.artifacts == (weights,)


def test_nothing_of_a_failed_group_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 8)
    held = claims(store, 3)
    asked = [report(c, f"w{n}") for n, c in enumerate(held)]
    before = len(store.events(made))

    def broken(*_: Any) -> None:
        raise ServerUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Groups, "_end_pauses", broken)
        patch.setattr(Groups, "_by_itself", broken)
        answers = store.finish_and_claim_all(asked)
    assert [type(answer) for answer in answers] == [ServerUnavailable] * 3
    assert len(store.events(made)) == before
    assert [trial.state.value for trial in store.trials(made)[0]][:4] == ["running"] * 3 + ["queued"]
    with monkeypatch.context() as patch:
        patch.setattr(Groups, "_end_pauses", broken)
        assert sorted(n or 0 for n in nexts(store.finish_and_claim_all(asked))) == [3, 4, 5]


def test_a_worker_that_only_reports_stays_in_the_list(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 4)
    (held,) = claims(store, 1)
    clock.advance(30.0)
    (answer,) = outcomes(store.finish_and_claim_all([report(held, "w0")]))
    (view,) = store.workers()
    assert answer.next is not None and view.last_seen.timestamp() == clock.now
    with store.engine.connect() as connection:
        updated = connection.execute(
            sa.select(experiments.c.updated_at).where(experiments.c.id == made)
        ).scalar()
    assert updated == clock.now


def test_the_oldest_queued_trial_is_found_without_a_look_at_the_others(store: Store) -> None:
    """The plan must not read the trials that are not queued any more: their number grows."""
    made = store.create_experiment(spec()).id
    now = store.clock()
    rows = [
        {
            "experiment_id": made, "index": number, "state": "completed" if number < 20_000 else "queued", "origin": "sobol",
            "round": "r1", "parameters": {}, "operators": [], "epochs": 1, "seed": 1, "costs": {}, "stop_requested": False,
            "trained_epochs": 0.0, "seconds": {}, "notes": [], "created_at": now,
        }
        for number in range(22_000)
    ]  # fmt: skip
    with store.engine.begin() as connection:
        connection.execute(sa.insert(trials), rows)
        connection.exec_driver_sql("ANALYZE")
    taking: list[tuple[str, Any]] = []

    def record(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "UPDATE trials SET state" in statement and "LIMIT" in statement:
            taking.append((statement, parameters))

    sa.event.listen(store.engine, "before_cursor_execute", record)
    (held,) = claims(store, 1)
    outcomes(store.finish_and_claim_all([report(held, "w0")]))
    explain = "EXPLAIN " if store.backend == "postgresql" else "EXPLAIN QUERY PLAN "
    sa.event.remove(store.engine, "before_cursor_execute", record)
    assert len(taking) == 2
    with store.engine.connect() as connection:
        for statement, parameters in taking:
            plan = connection.exec_driver_sql(explain + statement, parameters).all()
            assert "ix_trials_state" in str(plan) and "FOR ORDER BY" not in str(plan), plan
