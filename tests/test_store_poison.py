"""A stored spec or trial that does not validate affects only its experiment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support_auth import open_app, store_of
from support_store import SPEC, completed, fill, spec

from service.schemas.trials import ExperimentState
from service.store import Store
from service.store.stored_spec import UNREADABLE, StoredSpecInvalid, read_stored
from service.store.tables import experiments, trials
from service.suggester.suggester import Suggester
from sparsemod.errors import Conflict, InvalidSpec, NotFound
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec

pytest_plugins = ["support_store_fixtures"]

GOOD = spec().to_dict()

POISON: dict[str, Any] = {
    "an unknown key": {**GOOD, "from_the_future": 1},
    "an unknown key inside": {**GOOD, "training": {**GOOD["training"], "momentum_of_the_future": 2}},
    "another version": {**GOOD, "version": 3},
    "a value of another type": {**GOOD, "seed": "x"},
    "an unknown objective": {**GOOD, "objectives": ["error", "joy"]},
    "no rounds": {**GOOD, "source": {**GOOD["source"], "rounds": None}},
    "no dataset": {name: part for name, part in GOOD.items() if name != "dataset"},
    "contradictions": {**GOOD, "reference_point": {"latency": 3.0}},
    "a list": [1, 2],
    "a word": "spec",
    "nothing": {},
}


def poison(store: Store, experiment: int, data: Any) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.update(experiments).where(experiments.c.id == experiment).values(spec=data))


@pytest.mark.parametrize("data", POISON.values(), ids=POISON)
def test_the_readable_parts_of_a_spec_are_read(data: Any) -> None:
    found = read_stored(data)
    assert found.error is not None
    assert isinstance(found.spec, ExperimentSpec)
    if isinstance(data, dict) and data:
        assert found.spec.source.plan()[0].trials == (10 if data["source"]["rounds"] is None else 4)
        assert found.spec.network.family == "mlp"
        assert found.spec.dataset.name == ("digits" if "dataset" in data else UNREADABLE)
        assert found.spec.budgets == {"model_size": 1000.0}


@pytest.mark.slow
@pytest.mark.parametrize("data", POISON.values(), ids=POISON)
def test_a_poison_spec_troubles_its_own_experiment_only(store: Store, data: Any) -> None:
    bad, good = store.create_experiment(spec()).id, store.create_experiment(spec()).id
    fill(store, bad, 3)
    fill(store, good, 2)
    running = store.claim("before")
    assert running is not None and running.experiment == bad
    poison(store, bad, data)
    claims = [store.claim(f"w{i}", request=f"r{i}") for i in range(3)]
    assert [None if claim is None else claim.experiment for claim in claims] == [good, good, None]
    assert store.claim("before", request="r0") == claims[0], "a repeated request"

    shown = {item.id: item for item in store.experiments()[0]}
    assert shown[good].spec_error is None and shown[bad].spec_error
    view = store.experiment(bad)
    assert view.spec_error == shown[bad].spec_error and view.stored_spec == data
    assert view.counts[TrialState.QUEUED] == 2
    assert store.experiment(good).stored_spec is None
    assert len(store.trials(bad)[0]) == 3 and store.trial(bad, 0).index == 0

    for refused in (
        lambda: store.attach(bad, {"width": 1}),
        lambda: store.extend(bad, {"r1": 1}),
        lambda: fill(store, bad),
    ):
        with pytest.raises(StoredSpecInvalid, match="mend"):
            refused()
    assert store.finish(running.attempt, running.token, completed()).state
    assert store.pareto(bad).experiment == bad
    assert store.stop(bad).state == "stopped"
    assert store.resume(bad).state == "running"

    assert store.mend(bad, spec(seed=5)).spec_error is None
    assert store.mend(bad, spec(seed=5)).spec.seed == 5, "the same request again"
    with pytest.raises(Conflict, match="valid"):
        store.mend(bad, spec(seed=6))
    again = store.claim("after")
    assert again is not None and (again.experiment, again.spec.seed) == (bad, 5)
    with pytest.raises(NotFound):
        store.mend(99, spec())


def test_a_spec_that_was_mended_by_hand_is_noticed(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    poison(store, made, POISON["an unknown key"])
    assert store.claim("w") is None and store.experiment(made).spec_error
    poison(store, made, GOOD)
    assert store.claim("w") is not None and store.experiment(made).spec_error is None


def test_an_experiment_that_has_failed_runs_again_after_it_was_mended(store: Store) -> None:
    made = store.create_experiment(spec()).id
    poison(store, made, POISON["nothing"])
    store.finish_experiment(made, ExperimentState.FAILED, "its spec is not valid")
    mended = store.mend(made, spec())
    assert (mended.state, mended.reason, mended.finished_at) == ("running", None, None)


def test_a_mended_spec_allows_only_measured_objectives(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    store.finish(claim.attempt, claim.token, completed())
    poison(store, made, POISON["nothing"])
    with pytest.raises(InvalidSpec, match=r"objectives.1 = 'latency': .* error, model_size"):
        store.mend(made, spec(objectives=["error", "latency"]))
    assert store.mend(made, spec()).spec_error is None
    assert len(store.pareto(made).points) == 1


def test_a_poison_trial_keeps_no_other_from_the_workers(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    with store.engine.begin() as connection:
        connection.execute(sa.update(trials).where(trials.c.index == 0).values(origin="of the future"))
    claim = store.claim("w")
    assert claim is not None and claim.trial == 1
    assert store.claim("w2") is None


def test_the_suggester_lives_and_serves_the_others(store: Store) -> None:
    bad, good = store.create_experiment(spec()).id, store.create_experiment(spec()).id
    suggester = Suggester(store, holder="one")
    for data in POISON.values():
        poison(store, bad, data)
        suggester.step()
    suggester.close()
    assert store.experiment(good).counts[TrialState.QUEUED] == 1
    assert store.experiment(bad).state == "running" and not any(store.experiment(bad).counts.values())
    store.mend(bad, spec())
    Suggester(store, holder="one").step()
    assert store.experiment(bad).counts[TrialState.QUEUED] == 1


def test_the_suggester_survives_any_row(store: Store) -> None:
    bad, good = store.create_experiment(spec()).id, store.create_experiment(spec()).id
    fill(store, bad, 1, holder="one")
    with store.engine.begin() as connection:
        connection.execute(sa.update(trials).values(origin="of the future", state="completed"))
    suggester = Suggester(store, holder="one")
    for _ in range(3):
        suggester.step()
    assert store.experiment(good).counts[TrialState.QUEUED] == 1
    suggester.close()


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Any]:
    with open_app(tmp_path) as client:
        yield client


@pytest.mark.parametrize("data", POISON.values(), ids=POISON)
def test_over_http(http: Any, data: Any) -> None:
    store = store_of(http)
    bad, good = (http.post("/experiments", json={"spec": SPEC}).json()["id"] for _ in range(2))
    fill(store, bad, 1)
    fill(store, good, 1)
    poison(store, bad, data)
    assert http.post("/claims", json={"worker": "w"}).json()["experiment"] == good
    items = http.get("/experiments").json()["items"]
    assert [bool(item["spec_error"]) for item in items] == [False, True]
    for path in (
        "",
        "/trials",
        "/trials/0",
        "/trials?format=csv",
        "/points",
        "/timeline",
        "/events",
        "/exports",
    ):
        assert http.get(f"/experiments/{bad}{path}").status_code == 200, path
    assert http.get(f"/pareto/{bad}").status_code == http.get(f"/pareto/{bad}?format=csv").status_code == 200
    answer = http.post(f"/experiments/{bad}/extend", json={"rounds": {"r1": 1}})
    assert answer.status_code == 409 and answer.json()["error"]["type"] == "StoredSpecInvalid"
    wrong = http.post(f"/experiments/{bad}/mend", json={"spec": {**SPEC, "seed": "x"}})
    assert wrong.status_code == 422 and wrong.json()["error"]["field"] == "seed"
    assert http.post(f"/experiments/{bad}/stop").json()["state"] == "stopped"
    assert http.post(f"/experiments/{bad}/resume").json()["spec_error"]
    assert http.post(f"/experiments/{bad}/mend", json={"spec": SPEC}).json()["spec_error"] is None
    assert http.post("/claims", json={"worker": "w"}).json()["experiment"] == bad
    poison(store, bad, data)
    assert http.delete(f"/experiments/{bad}").status_code == 204
