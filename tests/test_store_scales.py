"""Experiments that were stored before there were scales keep their numbers; new ones show their scales."""

import json

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from service.store import Store
from service.store.engine import MIGRATIONS
from sparsemod.scales import Scale

pytest_plugins = ["support_store_fixtures"]

BASE = {"dataset": {"name": "digits"}, "network": {"family": "mlp"}}
OLD = {
    **BASE,
    "version": 1,
    "objectives": ["error", "model_size"],
    "reference_point": {"error": 0.5, "model_size": 1000.0},
}
UNREADABLE = {**OLD, "objectives": 3}
NEW = {**BASE, "version": 2, "objectives": ["error", "model_size"]}


def test_stored_experiments_of_version_1_keep_linear_scales(database: str) -> None:
    engine = sa.create_engine(database)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        add = sa.text(
            "INSERT INTO experiments (id, name, state, spec, spec_version, created_at, updated_at, next_index, events)"
            " VALUES (:id, 'old', 'running', :spec, 1, 1.0, 1.0, 1, 0)"
        )
        for number, data in enumerate((OLD, UNREADABLE, NEW), 1):
            connection.execute(add, {"id": number, "spec": json.dumps(data)})
        connection.exec_driver_sql(
            'INSERT INTO trials (id, experiment_id, "index", state, origin, round, parameters, operators, epochs, seed, costs, stop_requested,'
            " trained_epochs, seconds, notes, created_at, finished_at, finished_event)"
            " VALUES (1, 1, 0, 'completed', 'sobol', 'r1', '{}', '[]', 2, 1, '{}', false, 2.0, '{}', '[]', 1.0, 2.0, 1)"
        )
        measured = sa.text(
            "INSERT INTO measurements (trial_id, position, metric, value, unit, method, detail)"
            " VALUES (1, :place, :name, :value, '', '', '{}')"
        )
        for place, (name, value) in enumerate((("error", 0.25), ("model_size", 250.0))):
            connection.execute(measured, {"place": place, "name": name, "value": value})
    engine.dispose()
    store = Store.open(database)
    found = store.experiment(1)
    assert found.spec.version == 2
    assert found.scales == {"error": Scale("linear", 0.0, 0.5), "model_size": Scale("linear", 0.0, 1000.0)}
    front = store.pareto(1)
    assert front.scales == found.scales
    assert front.hypervolume == pytest.approx(0.5 * 0.75)
    assert store.experiment(2).spec_error is not None
    assert store.experiment(2).stored_spec == UNREADABLE
    assert store.experiment(3).scales["model_size"].kind == "log"
    store.close()
