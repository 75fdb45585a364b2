"""A database without logins keeps all its data when it is opened."""

import sqlalchemy as sa
from support_migrations import database_at

from service.store import Store

pytest_plugins = ["support_store_fixtures"]

OLD = """
INSERT INTO experiments (id, name, state, spec, spec_version, created_at, updated_at, next_index, events)
VALUES (1, 'old', 'running', '{"dataset": {"name": "digits"}, "network": {"family": "mlp"}}', 1, 1.0, 1.0, 1, 0);
INSERT INTO trials (id, experiment_id, "index", state, origin, round, parameters, operators, epochs, seed, costs, stop_requested,
  trained_epochs, seconds, notes, created_at)
VALUES (1, 1, 0, 'running', 'sobol', 'r1', '{}', '[]', 1, 1, '{}', false, 0.0, '{}', '[]', 1.0);
INSERT INTO attempts (id, trial_id, worker, device, token, state, started_at, heartbeat_at, expires_at)
VALUES (1, 1, 'w', 'cpu', 'fence', 'running', 1.0, 1.0, 99999999999.0);
INSERT INTO workers (name, device, slots, first_seen, last_seen) VALUES ('w', 'cpu', 1, 1.0, 1.0)
"""


def test_an_older_database_keeps_its_data(database: str) -> None:
    with database_at(database, "0001") as connection:
        for statement in OLD.split(";"):
            connection.exec_driver_sql(statement)
    store = Store.open(database)
    with store.engine.connect() as connection:
        for table in ("experiments", "trials", "attempts", "workers"):
            assert connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar() == 1, table
    assert not store.closed() and store.owner_of(1) is None and store.login_of_attempt(1) is None
    assert not store.heartbeat(1, "fence").stop
    assert [(worker.name, worker.draining) for worker in store.workers()] == [("w", False)]
    store.close()
