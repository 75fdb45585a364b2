"""The stopping rule in the store: the server decides at a report of epochs, and the decision outlives it."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from support_store import Suggestion, completed, fill, spec, stored_artifact

from service.http.app import create_app
from service.schemas.workers import Claim
from service.settings import Settings
from service.store import Store
from service.store.tables import trials
from sparsemod.errors import Conflict
from sparsemod.records import Candidate, CurvePoint, TrialResult, TrialState
from sparsemod.stopping import Judge

pytest_plugins = ["support_store_fixtures"]

EPOCHS = 6


def curve(*errors: float) -> list[CurvePoint]:
    keys = {"train_loss": 1.0, "validation_loss": 1.0, "learning_rate": 0.1}
    return [CurvePoint(epoch=e, validation_error=error, **keys) for e, error in enumerate(errors, 1)]


def suggestion(size: float, **changes: str) -> Suggestion:
    candidate = Candidate(
        parameters={"width": int(size)}, **{"origin": "sobol", "round": "r1", **changes}
    )  # a width names a trial
    return Suggestion(candidate, EPOCHS, costs={"model_size": size})


def claimed(store: Store) -> Claim:
    claim = store.claim("w")
    assert claim is not None
    return claim


def experiment(store: Store, **changes: object) -> int:
    """An experiment with six completed trials of 600 B that fall to an error of 10 % and more."""
    made = store.create_experiment(spec(**{"stopping": "curves", "budgets": {}, **changes})).id
    fill(store, made, [suggestion(600.0 + i) for i in range(6)])
    for i in range(6):
        claim = claimed(store)
        final = 0.1 + 0.02 * i
        store.points(claim.attempt, claim.token, curve(*(final + 0.4 * 0.5**e for e in range(EPOCHS))))
        store.finish(claim.attempt, claim.token, completed(final, 600.0 + i))
    return made


def hopeless(store: Store, made: int, size: float = 700.0) -> Claim:
    """A running trial that has reported three epochs near chance."""
    fill(store, made, [suggestion(size)])
    claim = claimed(store)
    assert not store.points(claim.attempt, claim.token, curve(0.9)).stop, "one epoch is too early"
    answer = store.points(claim.attempt, claim.token, curve(0.9, 0.89, 0.89))
    assert answer.stop == (store.trial(made, claim.trial).stopping is not None), (
        "the worker hears of it at once"
    )
    return claim


def stop(store: Store, claim: Claim) -> None:
    """The worker's report after the stop, with the checkpoint before it."""
    digest = stored_artifact(store, b"checkpoint", "checkpoint").digest
    store.checkpoint(claim.attempt, claim.token, digest)
    result = TrialResult(state=TrialState.STOPPED, curve=tuple(curve(0.9, 0.89, 0.89)), epochs=3.0)
    assert store.finish(claim.attempt, claim.token, result).state is TrialState.STOPPED


def test_the_server_stops_a_trial_that_cannot_reach_the_front(store: Store, database: str) -> None:
    made = experiment(store)
    claim = hopeless(store, made)
    running = store.trial(made, 6)
    assert running.state is TrialState.RUNNING and running.stopping is not None
    other = Store.open(database)
    assert other.heartbeat(claim.attempt, claim.token).stop, "the decision outlives the server"
    assert other.trial(made, 6).stopping == running.stopping
    other.close()
    stop(store, claim)
    view = store.trial(made, 6)
    assert view.state is TrialState.STOPPED and view.stopping == running.stopping
    assert view.stop_reason.startswith("stopped by the rule curves: after epoch 3 of 6, a probability of")
    seen = store.observations(made)[6]
    assert seen.forecast == (view.stopping.expected, view.stopping.deviation)
    assert seen.forecast[0] > 0.3


def test_costs_below_the_front_keep_a_trial_running(store: Store) -> None:
    made = experiment(store)
    claim = hopeless(store, made, size=100.0)
    assert not store.heartbeat(claim.attempt, claim.token).stop
    assert store.trial(made, 6).stopping is None


@pytest.mark.parametrize("part", ["manual", "repeats"])
def test_manual_trials_and_repetitions_run_to_their_end(store: Store, part: str) -> None:
    made = experiment(store)
    fill(store, made, [suggestion(700.0, round=part)])
    claim = claimed(store)
    assert not store.points(claim.attempt, claim.token, curve(0.9, 0.89, 0.89)).stop


def test_without_a_rule_nothing_is_judged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment(store, stopping=None)
    monkeypatch.setattr(Judge, "decide", None)
    claim = hopeless(store, made)
    assert not store.heartbeat(claim.attempt, claim.token).stop


def test_a_stopped_trial_continues_from_its_checkpoint_and_is_judged_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment(store)
    stop(store, hopeless(store, made))
    assert store.retry(made) == [], "nothing has failed"
    assert store.retry(made, [6]) == [6]
    view = store.trial(made, 6)
    assert view.state is TrialState.QUEUED and view.stopping is None and view.trained_epochs == 0
    again = claimed(store)
    assert again.trial == 6 and again.checkpoint is not None
    judged: list[object] = []
    monkeypatch.setattr(Judge, "decide", lambda *given: judged.append(given))
    answer = store.points(again.attempt, again.token, curve(0.9, 0.89, 0.89, 0.88)[3:])
    assert not answer.stop and judged == []
    store.finish(again.attempt, again.token, completed(0.88, 700.0))
    assert store.trial(made, 6).state is TrialState.COMPLETED
    with pytest.raises(Conflict, match="only a failed or a stopped trial"):
        store.retry(made, [6])


def test_a_trial_that_completes_before_the_stop_reaches_it_has_no_decision(store: Store) -> None:
    made = experiment(store)
    claim = hopeless(store, made)
    store.finish(claim.attempt, claim.token, completed(0.88, 700.0))
    view = store.trial(made, 6)
    assert view.state is TrialState.COMPLETED and view.stopping is None


def test_a_lost_worker_does_not_lose_the_decision(store: Store, clock: object) -> None:
    made = experiment(store)
    hopeless(store, made)
    clock.advance(1000.0)  # type: ignore[attr-defined]
    assert store.reap() == 1
    view = store.trial(made, 6)
    assert view.state is TrialState.STOPPED and view.stopping is not None


def test_ended_trainings_are_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment(store)
    stop(store, hopeless(store, made))
    seen: list[int] = []
    from service.store import stopping

    read = stopping._curves
    monkeypatch.setattr(stopping, "_curves", lambda c, ids: seen.append(len(ids)) or read(c, ids))
    fill(store, made, [suggestion(100.0)])
    claim = claimed(store)
    store.points(claim.attempt, claim.token, curve(0.5, 0.4))
    store.points(claim.attempt, claim.token, curve(0.5, 0.4, 0.3))
    assert seen == [2, 1], "the trial that was stopped last and the running one, then only the running one"
    store.retry(made, [6])
    store.points(claim.attempt, claim.token, curve(0.5, 0.4, 0.3, 0.2))
    known = store._judged[made]
    assert len(known.ended) == 6, "the trial that was retried is forgotten"


def test_a_rule_that_fails_stops_nothing_and_is_logged(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = experiment(store)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a plug-in's mistake")

    monkeypatch.setattr(Judge, "decide", fail)
    claim = hopeless(store, made)
    assert not store.heartbeat(claim.attempt, claim.token).stop
    assert "stopping rule failed" in "".join(capsys.readouterr())


def test_a_user_who_stops_a_trial_has_the_last_word(store: Store) -> None:
    made = experiment(store)
    fill(store, made, [suggestion(700.0)])
    claim = claimed(store)
    store.stop_trial(made, 6)
    assert store.points(claim.attempt, claim.token, curve(0.9, 0.89, 0.89)).stop
    stop(store, claim)
    view = store.trial(made, 6)
    assert view.state is TrialState.STOPPED and view.stopping is None
    with store.engine.connect() as connection:
        spared = connection.execute(sa.select(trials.c.spared).where(trials.c.index == 6)).scalar()
    assert not spared


def test_a_user_who_stops_a_trial_while_the_rule_judges_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment(store)
    fill(store, made, [suggestion(700.0)])
    claim, decide = claimed(store), Judge.decide

    def late(*given: Any) -> Any:
        store.stop_trial(made, 6)
        return decide(*given)

    monkeypatch.setattr(Judge, "decide", late)
    store.points(claim.attempt, claim.token, curve(0.9, 0.89, 0.89))
    assert store.heartbeat(claim.attempt, claim.token).stop and store.trial(made, 6).stopping is None


def test_a_changed_spec_changes_what_the_rule_knows(store: Store) -> None:
    made = experiment(store)
    claim = hopeless(store, made, size=100.0)
    store.extend(made, {}, {"error": 0.3})
    assert store.points(claim.attempt, claim.token, curve(0.9, 0.89, 0.89, 0.89)).stop


def test_the_api_and_the_table_say_why(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path))) as http:
        _says_why(http, http.app.state.store)  # type: ignore[attr-defined]


def _says_why(http: TestClient, store: Store) -> None:
    made = experiment(store)
    stop(store, hopeless(store, made))
    shown = http.get(f"/experiments/{made}/trials/6").json()["stopping"]
    assert (shown["rule"], shown["epoch"], shown["epochs"]) == ("curves", 3, 6)
    table = http.get(f"/experiments/{made}/trials", params={"format": "csv"}).text
    [line] = [line for line in table.splitlines() if line.startswith("6,")]
    assert "stopped by the rule curves: after epoch 3 of 6" in line
    assert http.post(f"/experiments/{made}/retry", json={"trials": [6]}).json() == {"trials": [6]}
