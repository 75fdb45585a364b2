"""Experiments stored before candidate sources existed continue as searches."""

import json

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from service.store import Store
from service.store.engine import MIGRATIONS

pytest_plugins = ["support_store_fixtures"]

SPEC = {
    "dataset": {"name": "digits"},
    "network": {"family": "mlp"},
    "objectives": ["error", "model_size"],
    "rounds": {r: {"trials": n, "epochs": 2} for r, n in (("r1", 3), ("r2", 0), ("r3", 0))},
    "search": {"batch_size": 2, "acquisition": "ax", "max_draws": 70, "in_step": True, "stop": None},
    "seed": 4,
}


def test_stored_rounds_become_the_source_search(database: str) -> None:
    engine = sa.create_engine(database)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        add = sa.text(
            "INSERT INTO experiments (id, name, state, spec, spec_version, created_at, updated_at, next_index, events)"
            " VALUES (1, 'old', 'running', :spec, 1, 1.0, 1.0, 1, 0)"
        )
        connection.execute(add, {"spec": json.dumps(SPEC)})
        connection.exec_driver_sql(
            'INSERT INTO trials (id, experiment_id, "index", state, origin, round, parameters, operators, epochs, seed, costs, stop_requested,'
            " trained_epochs, seconds, notes, created_at, finished_at, finished_event)"
            " VALUES (1, 1, 0, 'completed', 'sobol', 'r1', '{}', '[]', 2, 1, '{}', false, 2.0, '{}', '[]', 1.0, 2.0, 0)"
        )
    engine.dispose()
    store = Store.open(database)
    found = store.experiment(1)
    assert found.spec.to_dict()["source"] == {
        "name": "search", "version": 1, "rounds": SPEC["rounds"], "batch_size": 2, "acquisition": "ax", "max_draws": 70, "in_step": True,
        "stop": None,
    }  # fmt: skip
    assert found.spec.seed == 4
    assert [(name, r.title, r.done, r.trials) for name, r in found.rounds.items()] == [
        ("r1", "Sobol", 1, 3), ("r2", "model", 0, 0), ("r3", "morphs", 0, 0),
    ]  # fmt: skip
    assert store.extend(1, {"r1": 2}).rounds["r1"].trials == 5
    store.close()
