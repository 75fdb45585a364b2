"""Migrations and models describe the same schema; opening a database upgrades it, also from several processes
at the same time."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from support_store import fill, spec

from service.store import HEAD, Store
from service.store.engine import MIGRATIONS
from service.store.tables import metadata
from sparsemod.errors import InvalidInput, ServerUnavailable, SparsemodError

pytest_plugins = ["support_store_fixtures"]


def _columns(engine: sa.Engine) -> dict[str, set[tuple[str, str, bool]]]:
    inspector = sa.inspect(engine)
    return {
        table: {(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)}
        | {("index", str(i["column_names"]), bool(i["unique"])) for i in inspector.get_indexes(table)}
        | {("unique", str(u["column_names"]), True) for u in inspector.get_unique_constraints(table)}
        | {
            ("key", str(k["constrained_columns"] + k["referred_columns"]), True)
            for k in inspector.get_foreign_keys(table)
        }
        | {("primary", str(inspector.get_pk_constraint(table)["constrained_columns"]), True)}
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def test_the_migrations_make_the_models(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = Store.open(database)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    # Alembic's comparison overlooks some things (primary keys, uniqueness on SQLite): compare with the
    # tables of the models.
    other = database if database.startswith("sqlite") else request.getfixturevalue("postgres").database()
    made = sa.create_engine(f"sqlite:///{tmp_path / 'models.db'}" if other == database else other)
    metadata.create_all(made)
    assert _columns(store.engine) == _columns(made)
    made.dispose()
    store.close()


def test_the_newest_step_is_the_one_that_the_store_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_sqlite_is_in_wal_mode_for_every_connection(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'wal.db'}")
    with store.engine.connect() as first, store.engine.connect() as second:
        for connection in (first, second):
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    store.close()


def test_several_may_open_an_empty_database_at_once(database: str) -> None:
    found: list[object] = []

    def work() -> None:
        try:
            store = Store.open(database)
            found.append(store.create_experiment(spec()).id)
            store.close()
        except SparsemodError as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["1", "2", "3", "4"]


def test_an_older_database_is_upgraded_and_a_newer_one_refused(database: str) -> None:
    store = Store.open(database)
    made = store.create_experiment(spec())
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(InvalidInput, match="9999"):
        Store.open(database)
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{HEAD}'"))
    engine.dispose()
    store = Store.open(database)
    assert store.experiment(made.id) == made
    store.close()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InvalidInput, match="database_url"):
        Store.open(url)


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match="does not answer"):
        Store.open(f"postgresql://nobody@/none?host={tmp_path}")


def test_a_database_survives_being_closed_and_opened(database: str) -> None:
    store = Store.open(database)
    made = store.create_experiment(spec()).id
    fill(store, made, 3)
    claim = store.claim("w")
    assert claim is not None
    store.close()
    again = Store.open(database)
    assert again.heartbeat(claim.attempt, claim.token).stop is False
    assert again.experiment(made).counts["queued"] == 2  # type: ignore[index]
    assert fill(again, made, 1) == [3]
    again.close()
