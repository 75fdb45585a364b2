"""Databases of an earlier schema, with rows as that version of the service stored them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from service.store.engine import MIGRATIONS

_ADD_EXPERIMENT = sa.text(
    "INSERT INTO experiments (id, name, state, spec, spec_version, created_at, updated_at, next_index, events)"
    " VALUES (:id, 'old', 'running', :spec, 1, 1.0, 1.0, 1, 0)"
)
_ADD_TRIAL = sa.text(
    'INSERT INTO trials (id, experiment_id, "index", state, origin, round, parameters, operators, epochs, seed, costs, stop_requested,'
    " trained_epochs, seconds, notes, created_at, finished_at, finished_event)"
    " VALUES (1, :experiment, 0, 'completed', 'sobol', 'r1', '{}', '[]', 2, 1, '{}', false, 2.0, '{}', '[]', 1.0, 2.0, 1)"
)


@contextmanager
def database_at(url: str, revision: str) -> Iterator[sa.Connection]:
    """Migrate an empty database to `revision`, and commit what the block adds to it."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection
    engine.dispose()


def add_experiment(connection: sa.Connection, identity: int, spec: Any) -> None:
    """A running experiment with this stored spec."""
    connection.execute(_ADD_EXPERIMENT, {"id": identity, "spec": json.dumps(spec)})


def add_completed_trial(connection: sa.Connection, experiment: int) -> None:
    """Trial 0 of the experiment, whose id is 1."""
    connection.execute(_ADD_TRIAL, {"experiment": experiment})
