"""Experiments stored before candidate sources existed continue as searches."""

from support_migrations import add_completed_trial, add_experiment, database_at

from service.store import Store

pytest_plugins = ["support_store_fixtures"]

SPEC = {
    "dataset": {"name": "digits"},
    "network": {"family": "mlp"},
    "objectives": ["error", "model_size"],
    "rounds": {r: {"trials": n, "epochs": 2} for r, n in (("r1", 3), ("r2", 0), ("r3", 0))},
    "search": {"batch_size": 2, "acquisition": "ax", "max_draws": 70, "in_step": True, "stop": None},
    "seed": 4,
}


REPEATS = {"repeats": {"trials": 0, "confidence": 0.9, "seeds": 3}}


def test_stored_rounds_become_the_source_search(database: str) -> None:
    with database_at(database, "0004") as connection:
        add_experiment(connection, 1, SPEC)
        add_completed_trial(connection, 1)
    store = Store.open(database)
    found = store.experiment(1)
    assert found.spec.to_dict()["source"] == {
        "name": "search", "version": 1, "rounds": SPEC["rounds"] | REPEATS, "batch_size": 2, "acquisition": "ax", "max_draws": 70, "in_step": True,
        "stop": None, "earlier": [],
    }  # fmt: skip
    assert found.spec.seed == 4
    assert [(name, r.title, r.done, r.trials) for name, r in found.rounds.items()] == [
        ("r1", "Sobol", 1, 3), ("r2", "model", 0, 0), ("r3", "morphs", 0, 0),
    ]  # fmt: skip
    assert store.extend(1, {"r1": 2}).rounds["r1"].trials == 5
    store.close()
