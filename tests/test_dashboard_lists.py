"""The requests of the list of experiments and of a trial's page: by state, rate of trials, devices."""

from pathlib import Path

import pytest
from support_auth import open_app, store_of
from support_store import Clock, Suggestion, completed, fault, fill, spec

from service.schemas.trials import ExperimentState
from service.store import Store
from sparsemod.records import Candidate, Measurement

pytest_plugins = ["support_store_fixtures"]


def pace(store: Store, experiment: int) -> float | None:
    (listed,) = (item for item in store.experiments()[0] if item.id == experiment)
    found = store.experiment(experiment).trials_per_minute
    assert listed.trials_per_minute == found
    return found


def test_the_pace_is_that_of_the_latest_trials(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec(limits={"attempts": 1})).id
    fill(store, made, 45)

    def finish(count: int, seconds: float) -> None:
        for number in range(count):
            clock.advance(seconds)
            claim = store.claim("w")
            assert claim is not None
            store.finish(claim.attempt, claim.token, fault() if number % 3 == 2 else completed())

    finish(4, 60.0)
    assert pace(store, made) is None  # few
    finish(1, 60.0)
    assert pace(store, made) == pytest.approx(1.0)
    # Stopped in the night: that is no pace, and does not make the rest look like weeks.
    store.stop(made)
    clock.advance(8 * 3600)
    store.resume(made)
    finish(5, 60.0)
    assert pace(store, made) == pytest.approx(1.0)
    finish(35, 6.0)
    assert pace(store, made) == pytest.approx(10.0)


def test_trials_that_end_at_once_have_no_pace(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 6)
    for _ in range(6):
        claim = store.claim("w")
        assert claim is not None
        store.finish(claim.attempt, claim.token, completed())
    assert pace(store, made) is None


def test_experiments_by_state(store: Store, tmp_path: Path) -> None:
    first, second, third = (store.create_experiment(spec()).id for _ in range(3))
    store.stop(second)
    assert [item.id for item in store.experiments(state=ExperimentState.RUNNING)[0]] == [third, first]
    found, total = store.experiments(limit=1, state=ExperimentState.RUNNING)
    assert ([item.id for item in found], total) == ([third], 2)
    with open_app(tmp_path) as http:
        made = store_of(http).create_experiment(spec()).id
        assert http.get("/experiments?state=stopped").json() == {"items": [], "total": 0}
        assert [item["id"] for item in http.get("/experiments?state=running").json()["items"]] == [made]
        wrong = http.get("/experiments?state=sleeping")
        assert wrong.status_code == 422 and "'running'" in wrong.json()["error"]["allowed"]


def test_a_trial_beside_every_device(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        made = store.create_experiment(spec()).id
        candidate = Candidate(parameters={"width": 1}, origin="sobol", round="r1")
        costs = {"model_size": 600_000.0, "working_memory": 1000.0}
        fill(store, made, [Suggestion(candidate, costs=costs), Suggestion(candidate)])
        path = f"/experiments/{made}/trials"
        before = {one["device"]: one for one in http.get(f"{path}/0/devices").json()}
        assert before["stm32f446"]["over"] == {"flash": 600_000 - 512 * 1024} and before["stm32h743"]["fits"]
        assert http.get(f"{path}/1/devices").json() == []
        claim = store.claim("w")
        assert claim is not None
        result = completed()
        linked = [
            Measurement(metric=name, value=9000.0, unit="B", method="emulated") for name in ("flash", "ram")
        ]
        result = result.model_copy(update={"measurements": (*result.measurements, *linked)})
        store.finish(claim.attempt, claim.token, result)
        after = {one["device"]: one for one in http.get(f"{path}/0/devices").json()}
        assert after["stm32f446"]["fits"] and after["stm32f446"]["flash"] == 9000
        assert http.get(f"{path}/77/devices").status_code == 404
