"""Experiments that were stored before there were scales keep their numbers; new ones show their scales."""

import pytest
import sqlalchemy as sa
from support_migrations import add_completed_trial, add_experiment, database_at

from service.store import Store
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
    with database_at(database, "0007") as connection:
        for number, data in enumerate((OLD, UNREADABLE, NEW), 1):
            add_experiment(connection, number, data)
        add_completed_trial(connection, 1)
        measured = sa.text(
            "INSERT INTO measurements (trial_id, position, metric, value, unit, method, detail)"
            " VALUES (1, :place, :name, :value, '', '', '{}')"
        )
        for place, (name, value) in enumerate((("error", 0.25), ("model_size", 250.0))):
            connection.execute(measured, {"place": place, "name": name, "value": value})
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
