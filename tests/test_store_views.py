"""Views of trials in a store (lists, events, the front) on SQLite and PostgreSQL."""

import pytest
from support_store import (
    Suggestion,
    completed,
    fill,
    point,
    spec,
    suggestions,
)

from service.store import Store
from sparsemod.errors import InvalidInput
from sparsemod.records import Candidate, Measurement, TrialState
from sparsemod.scales import Scale

pytest_plugins = ["support_store_fixtures"]


def test_trials_are_filtered_sorted_and_paged(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 5)
    for error in (0.3, 0.1, 0.2):
        claim = store.claim("w")
        assert claim is not None
        store.finish(claim.attempt, claim.token, completed(error=error))
    items, total = store.trials(made, sort="error", limit=4)
    assert ([t.index for t in items], total) == ([1, 2, 0, 3], 5)
    assert [t.index for t in store.trials(made, sort="error", descending=True)[0]] == [0, 2, 1, 3, 4]
    assert [t.index for t in store.trials(made, state=TrialState.QUEUED, descending=True)[0]] == [4, 3]
    assert [t.index for t in store.trials(made, limit=2, offset=4)[0]] == [4]
    assert store.trials(made, round="r2") == ([], 0) and store.trials(made, origin="sobol")[1] == 5
    assert store.trials(made)[0][1].values() == {"error": 0.1, "model_size": 500.0}
    with pytest.raises(InvalidInput, match="speed"):
        store.trials(made, sort="speed")


def test_events_are_counted_without_gaps(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    store.points(claim.attempt, claim.token, [point(1)])
    store.finish(claim.attempt, claim.token, completed())
    store.stop(made)
    events = store.events(made)
    assert [e.counter for e in events] == list(range(1, len(events) + 1))
    assert [(e.kind, e.data.get("state")) for e in events] == [
        ("experiment", "running"), ("trial", "queued"), ("trial", "running"), ("points", None), ("trial", "completed"),
        ("experiment", "stopped"),
    ]  # fmt: skip
    assert [e.counter for e in store.events(made, after=4)] == [5, 6]
    assert store.events(made, after=6) == [] and store.experiment(made).revision == 6


def test_the_front_its_history_and_lineage(store: Store) -> None:
    given = {"reference_point": {"error": 1.0, "model_size": 1000.0}, "scales": {"model_size": "linear"}}
    made = store.create_experiment(spec(**given)).id
    child = Candidate(
        parameters={"width": 3}, origin="morphism", round="r3", parent=1, operators=("widen", "deepen")
    )
    fill(store, made, [*suggestions(3), Suggestion(child)])
    claims = [store.claim("w") for _ in range(4)]
    # They complete in another order than they start; the third is over its budget.
    for place, error, size in ((1, 0.5, 500.0), (0, 0.6, 600.0), (2, 0.1, 2000.0), (3, 0.2, 800.0)):
        claim = claims[place]
        assert claim is not None
        test_error = Measurement(metric="error", value=0.9, unit="fraction", method="x", split="test")
        result = completed(error=error, size=size)
        store.finish(
            claim.attempt,
            claim.token,
            result.model_copy(update={"measurements": (test_error, *result.measurements)}),
        )
        store.pareto(made)  # the history continues from here
    front = store.pareto(made)
    assert [(p.index, p.values()["error"]) for p in front.points] == [(3, 0.2), (1, 0.5)]
    assert [(a.index, a.operators) for a in front.points[0].lineage] == [(1, ("widen", "deepen"))]
    assert [h.index for h in front.history] == [1, 0, 2, 3] and [h.trials for h in front.history] == [
        1,
        2,
        3,
        4,
    ]
    assert [h.hypervolume for h in front.history] == pytest.approx(
        [0.25, 0.25, 0.25, 0.25 + 0.8 * 0.2 - 0.5 * 0.2]
    )
    assert front.hypervolume == front.history[-1].hypervolume and front.history[-1].round == "r3"
    fresh = Store(store.engine, store.clock)
    assert fresh.pareto(made) == front  # the result does not depend on caches
    tight = store.extend(made, {}, {"model_size": 600})
    assert tight.spec.reference() == {"error": 1.0, "model_size": 1000.0}
    assert [p.index for p in store.pareto(made).points] == [1]
    # Flash and RAM are the device's own.
    view, found = store.experiment(made), store.pareto(made)
    assert found.name == "store test"
    assert found.budgets == {"model_size": 600.0, "flash": 524288.0, "ram": 131072.0}
    assert (view.budgets, view.reference_point) == (found.budgets, found.reference_point)
    assert (
        view.scales
        == found.scales
        == {n: Scale("linear", 0.0, found.reference_point[n]) for n in found.objectives}
    )


def test_the_nearest_misses_while_there_is_no_front(store: Store) -> None:
    made = store.create_experiment(spec(budgets={"error": 0.3})).id
    fill(store, made, suggestions(3))
    for error in (0.6, 0.4, 0.2):
        claim = store.claim("w")
        assert claim is not None
        store.finish(claim.attempt, claim.token, completed(error=error, size=500.0))
        found = store.pareto(made)
        if error > 0.3:
            assert found.points == () and found.nearest[0].index == claim.trial
            assert found.nearest[0].excess == {"error": pytest.approx(error - 0.3)}
            assert found.nearest[0].values["model_size"] == 500.0
    assert len(found.points) == 1 and found.nearest == ()


def test_an_empty_front(store: Store) -> None:
    front = store.pareto(store.create_experiment(spec()).id)
    assert (front.points, front.hypervolume, front.history) == ((), 0.0, ())
