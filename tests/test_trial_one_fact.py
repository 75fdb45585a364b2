"""Facts about a trial have one derivation, or derivations that agree."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from support_search import OBJECTIVES, SPACE, costs
from support_search import spec as search_spec
from support_store import Suggestion, completed, fill, spec, suggestions

from service.store import Store
from service.store.progress import counts_query
from service.store.tables import measurements, trials
from sparsemod.delivery.needs import Need, fit
from sparsemod.objectives import GrowingFront, Objectives
from sparsemod.pipeline.journal import Finished
from sparsemod.records import (
    Candidate,
    FailureKind,
    Measurement,
    ParetoFront,
    TrialRecord,
    TrialResult,
    TrialState,
)
from sparsemod.report.columns import columns_of
from sparsemod.report.pareto import front, pareto_front
from sparsemod.report.results import front_json
from sparsemod.search.history import History
from sparsemod.search.strategy import Search, _with_pending
from sparsemod.sources.observation import Observation, observations_from_plain, observations_to_plain
from sparsemod.targets import device, device_fits

pytest_plugins = ["support_store_fixtures"]

TEST = Measurement(metric="error", value=0.9, unit="fraction", method="x", split="test")


@pytest.mark.long
def test_the_store_and_the_search_count_the_same_misses(store: Store) -> None:
    made = store.create_experiment(spec()).id
    cases = list(product(TrialState, [None, *FailureKind], [(), (TEST,), completed().measurements]))
    [first] = fill(store, made, 1)
    with store.engine.begin() as connection:
        row = dict(connection.execute(sa.select(trials)).mappings().one())
        row.pop("id")
        for place, (state, kind, found) in enumerate(cases, 1):
            values = {
                **row, "index": first + place, "state": state.value, "failure_kind": kind, "round": f"r{place}",
            }  # fmt: skip
            identity = connection.execute(
                sa.insert(trials).values(**values).returning(trials.c.id)
            ).scalar_one()
            for position, m in enumerate(found):
                content = {"trial_id": identity, "position": position, **m.model_dump(mode="json")}
                connection.execute(sa.insert(measurements).values(**content))
        counted = {one.round: one[-1] for one in connection.execute(counts_query([made]))}
    seen = store.observations(made)[1:]
    assert len(seen) == len(cases)
    for observation, case in zip(seen, cases, strict=True):
        assert bool(counted[observation.candidate.round]) is observation.miss, case


def test_a_suggestion_that_is_not_trained_is_stored_as_its_own_result(store: Store) -> None:
    made = store.create_experiment(spec()).id
    given = [
        *suggestions(1),
        *suggestions(1, feasible=False, over={"model_size": 9.0}),
        *suggestions(1, error="too deep", feasible=False),
    ]
    fill(store, made, given)
    for index, (item, seen) in enumerate(zip(given, store.observations(made), strict=True)):
        expected = item.miss()
        assert seen.miss is (expected is not None)
        if expected is not None:
            view = store.trial(made, index)
            assert (view.state, view.failure, view.notes) == (
                expected.state,
                expected.failure,
                expected.notes,
            )
            assert view.measurements == expected.measurements
            assert seen == Observation.of(view)


def test_the_epochs_of_a_pending_morph_are_the_same_in_every_process(store: Store) -> None:
    made = store.create_experiment(spec()).id
    parent, child = (
        Candidate(parameters=SPACE.complete({}), origin="sobol", round="r1"),
        Candidate(
            parameters=SPACE.complete({}), origin="morphism", round="r3", parent=0, operators=("widen",)
        ),
    )
    manual = child.model_copy(update={"round": "manual", "parent": None, "operators": ()})
    fill(store, made, [Suggestion(parent, 2)])
    claim = store.claim("w")
    assert claim is not None
    store.finish(claim.attempt, claim.token, completed())
    fill(store, made, [Suggestion(child, 3), Suggestion(manual, 9)])
    here = store.observations(made)
    sent = observations_from_plain(json.loads(json.dumps(observations_to_plain(here))))
    assert sent == here
    history = History(search_spec(), SPACE, sent)
    assert [history.epochs(one) for one in history.all] == [2.0, 5.0, 9.0]
    assert [Observation.of(store.trial(made, i)) for i in range(3)] == here


def test_a_morph_that_is_not_yet_queued_counts_its_parents_epochs() -> None:
    of = search_spec()
    base = Observation(
        0,
        Candidate(parameters=SPACE.complete({}), origin="sobol", round="r1"),
        TrialState.COMPLETED,
        {"error": 0.5, **costs(SPACE.complete({}))},
        7.0,
    )
    child = Candidate(parameters=SPACE.complete({}), origin="morphism", round="r3", parent=0)
    search = Search(of, SPACE, costs)
    history = _with_pending(History(of, SPACE, [base]), [Suggestion(child, 3)], search)
    assert history.epochs(history.all[-1]) == 10.0


@pytest.mark.parametrize("names", [OBJECTIVES[:1], OBJECTIVES[:2], OBJECTIVES])
def test_a_front_that_grows_is_the_front_of_all_rows(names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(len(names))
    # Some equal values, some beyond the reference point or the budget.
    rows = [dict(zip(OBJECTIVES, (rng.integers(1, 23, 4) / 20).tolist(), strict=True)) for _ in range(150)]
    objectives = Objectives(names, dict.fromkeys(names, 1.0), {"latency": 0.9})
    growing = GrowingFront(objectives)
    for count, row in enumerate(rows, 1):
        volume = growing.add(count - 1, row)
        assert sorted(growing.members) == sorted(objectives.front(rows[:count]))
        assert volume == pytest.approx(objectives.hypervolume(rows[:count]), abs=1e-12)
    assert growing.add(150, {}) == growing.hypervolume, "a trial without the objectives is no point"


def test_a_folder_and_the_server_show_one_front(store: Store) -> None:
    made = store.create_experiment(spec(reference_point={"error": 1.0, "model_size": 1000.0})).id
    child = Candidate(parameters={"width": 3}, origin="morphism", round="r3", parent=1, operators=("widen",))
    fill(store, made, [*suggestions(3), Suggestion(child)])
    claims = [store.claim("w") for _ in range(4)]
    order = (1, 0, 2, 3)
    for place, error, size in zip(order, (0.5, 0.6, 0.1, 0.2), (500.0, 600.0, 2000.0, 800.0), strict=True):
        claim = claims[place]
        assert claim is not None
        result = completed(error=error, size=size)
        measured = result.model_copy(update={"measurements": (TEST, *result.measurements)})
        store.finish(claim.attempt, claim.token, measured)
    view = store.pareto(made)
    objectives = store.experiment(made).spec.objectives_in_force()
    rows: list[TrialRecord] = [store.trial(made, index) for index in order]
    assert [row.index for row in front(objectives, rows)] == [3, 1]
    assert front_json(pareto_front(view.name, objectives, rows)) == front_json(view)
    file, answer = json.loads(front_json(view)), view.model_dump(mode="json")
    assert list(file) == list(ParetoFront.model_fields) and set(answer) - set(file) == {"experiment"}
    assert file["history"] == answer["history"] and len(file["points"]) == 2
    for point, shown in zip(file["points"], answer["points"], strict=True):
        assert point == shown


def test_seconds_of_a_trial_are_the_sum_of_its_stages_everywhere(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    result = completed(seconds={"build": 0.25, "train": 1.5})
    store.finish(claim.attempt, claim.token, result)
    line = {
        "index": 0,
        "candidate": claim.candidate,
        "planned_epochs": 2,
        "seed": claim.seed,
        "result": result,
    }
    local = Finished.model_validate_json(Finished(**line).model_dump_json())  # type: ignore[arg-type]
    earlier = json.loads(local.model_dump_json()) | {
        "seconds": 99.0
    }  # wall time, in files of earlier versions
    assert Finished.model_validate_json(json.dumps(earlier)) == local
    [seconds] = [column for column in columns_of([local.record]) if column.name == "seconds"]
    assert seconds.value(local.record) == seconds.value(store.trial(made, 0)) == 1.75
    there = store.trial(made, 0)
    assert {name: getattr(there, name) for name in TrialRecord.model_fields} == dict(local.record)


@pytest.mark.parametrize("change", [0.0, 0.4, 1.0, -1.0])
def test_what_fits_a_device_is_judged_alike(change: float) -> None:
    board = device("rp2040")
    flash, ram = board.flash + change, board.ram + change
    over = board.excess(flash, ram)
    assert over == ({"flash": 1, "RAM": 1} if change > 0 else {})
    measured = [
        Measurement(metric=name, value=value, unit="B", method="made up")
        for name, value in (("flash", flash), ("ram", ram))
    ]
    [judged] = device_fits(measured, [board])
    assert (judged.fits, judged.over) == (not over, over)
    budgets = Objectives(("error",), {"error": 1.0}, {"flash": board.flash, "ram": board.ram})
    assert budgets.feasible({"flash": flash, "ram": ram}) is judged.fits
    if change.is_integer():
        need = Need(core=board.core, flash=int(flash), ram=int(ram), method="made up", measured=True)
        assert fit(need, board).over == over


@pytest.mark.parametrize("values", [TrialResult.values, TrialRecord.values])
def test_values_never_hold_test_data(values: Callable[[Any], dict[str, float]]) -> None:
    record = TrialRecord(
        index=0, candidate=Candidate(parameters={}, origin="sobol", round="r1"), state=TrialState.COMPLETED, epochs=1, seed=0,
        measurements=(TEST, replace_split(TEST, 0.1)),
    )  # fmt: skip
    assert values(record) == {"error": 0.1} and record.value("error") == 0.1
    assert [column.title for column in columns_of([record])][-1] == "error [fraction]"
    assert Observation.of(record).values == {"error": 0.1}
    assert replace(Observation.of(record), values=None).values is None


def replace_split(measurement: Measurement, value: float) -> Measurement:
    return measurement.model_copy(update={"split": "validation", "value": value})
