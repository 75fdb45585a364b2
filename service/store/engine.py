"""Opening a database: connections, transactions, the schema's version.

SQLite runs in WAL mode (readers never wait for the writer); a writer begins with BEGIN IMMEDIATE, so that it never has to upgrade a read
lock. PostgreSQL runs in READ COMMITTED; what must not be done twice is decided by row locks and conditional updates.
"""

import errno
import json
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from service.store.stored_spec import StoredSpec, StoredSpecInvalid, read_stored
from service.store.tables import events, experiments
from sparsemod.errors import Conflict, InvalidInput, NotFound, ServerUnavailable
from sparsemod.spec.experiment import ExperimentSpec

LOCK_SECONDS = 10.0
"""How long a statement waits for a lock that somebody else holds, and a thread for a connection."""

STATEMENT_SECONDS = 60.0
"""How long a statement may run, the reading of its rows included on SQLite."""

CONNECT_SECONDS = 10
"""How long a connection to PostgreSQL may take, and how long it may be silent before it counts as broken."""

MIGRATION_SECONDS = 300.0
"""How long a migration waits for another one."""

_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EROFS, errno.ENAMETOOLONG}

_STEPS = 20_000
"""SQLite looks at its time limit each time it has executed so many instructions."""

MIGRATIONS = Path(__file__).with_name("migrations")

HEAD = "0007"
"""Newest migration: a database that is there already needs no look at the migrations, whose library takes a while to load."""

_MIGRATION_LOCK = 0x73706D64  # any number that is always the same

_SPECS_KEPT = 256

Row = sa.RowMapping
Clock = Callable[[], float]

# Statements of the busiest paths are built once: building one costs as much as running it.
_COUNT_EVENT = (
    sa.update(experiments)
    .where(experiments.c.id == sa.bindparam("which"))
    .values(events=experiments.c.events + 1, updated_at=sa.bindparam("updated_at"))
    .returning(experiments.c.events)
)
_ADD_EVENT = sa.insert(events)


def open_engine(
    url: str, lock_seconds: float = LOCK_SECONDS, statement_seconds: float = STATEMENT_SECONDS
) -> sa.Engine:
    """An engine for `url`, its database brought to the newest schema. No statement waits or runs longer than the limits.

    Raises InvalidInput for a URL that cannot be used, ServerUnavailable.
    """
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        raise InvalidInput(
            "database_url", url, "such as sqlite:////folder/file.db or postgresql://user@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise InvalidInput("database_url", backend, "sqlite or postgresql")
    options: dict[str, Any] = {"json_serializer": partial(json.dumps, separators=(",", ":"), allow_nan=False)}
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise InvalidInput("database_url", url, "a file: several processes share it")
        _make_private(Path(str(parsed.database)))
        options["connect_args"] = {"timeout": lock_seconds}
    else:
        options["pool_pre_ping"] = True  # a restarted server has closed our idle connections
        options["connect_args"] = {
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": 1000 * CONNECT_SECONDS,
            "keepalives_idle": CONNECT_SECONDS,
        }
    engine = sa.create_engine(parsed, pool_size=10, max_overflow=40, pool_timeout=lock_seconds, **options)
    if backend == "sqlite":
        sa.event.listen(engine, "connect", partial(_on_sqlite_connect, lock_seconds))
        sa.event.listen(engine, "begin", _on_sqlite_begin)
        sa.event.listen(engine, "before_cursor_execute", partial(_on_sqlite_execute, statement_seconds))
    else:
        sa.event.listen(engine, "connect", partial(_on_postgres_connect, lock_seconds, statement_seconds))
    try:
        with translated():
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_private(path: Path) -> None:
    """Make the file of an SQLite database if there is none, for its owner alone. SQLite gives the files beside it the same mode.

    Other users lose their access to a file that is there already; that of its group is left as it is. Raises InvalidInput for a place that
    cannot be used, ServerUnavailable for a disk that does not work at the moment.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if file.exists() and (found := file.stat()).st_mode & 0o007 and found.st_uid == os.geteuid():
                file.chmod(found.st_mode & 0o770)
    except OSError as error:
        if error.errno in _UNUSABLE:
            allowed = f"a file that can be made and written ({error.strerror})"
            raise InvalidInput("database_url", str(path), allowed) from error
        raise ServerUnavailable(f"the database {path} cannot be opened: {error.strerror}") from error


def _on_postgres_connect(lock_seconds: float, statement_seconds: float, connection: Any, _: Any) -> None:
    limits = {
        "lock_timeout": lock_seconds,
        "statement_timeout": statement_seconds,
        "idle_in_transaction_session_timeout": statement_seconds,
    }
    connection.autocommit = True
    for name, seconds in limits.items():
        connection.execute(f"SET {name} = {max(1, round(1000 * seconds))}")
    connection.autocommit = False


def _on_sqlite_connect(lock_seconds: float, connection: Any, record: Any) -> None:
    # SQLite has no time limit for statements: it asks this function now and then whether to go on.
    deadline = record.info["deadline"] = [math.inf]
    connection.set_progress_handler(lambda: time.monotonic() > deadline[0], _STEPS)
    connection.isolation_level = (
        None  # the driver's own idea of when to BEGIN is turned off, see _on_sqlite_begin
    )
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(lock_seconds * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL mode NORMAL survives a killed process; only a power cut may lose the last commits (never corrupt).
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _on_sqlite_execute(statement_seconds: float, connection: sa.Connection, *_: Any) -> None:
    unlimited = connection.get_execution_options().get("sparsemod_unlimited", False)
    connection.info["deadline"][0] = math.inf if unlimited else time.monotonic() + statement_seconds


def _on_sqlite_begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("sparsemod_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _migrate(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        if schema_version(connection) == HEAD:
            return
    from alembic import command, util
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    unlimited = engine.connect().execution_options(sparsemod_write=True, sparsemod_unlimited=True)
    with unlimited as connection, connection.begin():
        # Server and suggester may start on an empty database at once: one of them makes the tables, the other finds them.
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * MIGRATION_SECONDS)}")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except util.CommandError as error:
            version = schema_version(connection)
            raise InvalidInput(
                "database_url", version, f"a database of schema {HEAD} or older ({error})"
            ) from error


def schema_version(connection: sa.Connection) -> str | None:
    """The database's migration, None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def translated() -> Iterator[None]:
    """SQLAlchemy's exceptions in our words."""
    try:
        yield
    except exc.IntegrityError as error:
        raise Conflict(f"contradicts what is stored: {error.orig}") from error
    except exc.DataError as error:
        raise InvalidInput("value", str(error.orig), "something that the database can hold") from error
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        reason = _REASONS.get(reason, reason)
        raise ServerUnavailable(f"the database does not answer: {reason}") from error


_REASONS = {
    "interrupted": "a statement took longer than SPARSEMOD_DATABASE_STATEMENT_SECONDS",
    "database is locked": "another process holds its lock for longer than SPARSEMOD_DATABASE_LOCK_SECONDS (database is locked)",
}
"""What SQLite says, in words."""


class Base:
    """What the parts of the store share: engine, clock, transactions, events.

    Locks are taken in one order, so that two transactions never wait for each other: attempt or export job, then trial, then experiment.
    Whoever locks the record of a file against those who refer to it locks nothing else.
    """

    def __init__(self, engine: sa.Engine, clock: Clock = time.time, lease_seconds: float = 60.0) -> None:
        self.engine, self.clock, self.lease_seconds = engine, clock, lease_seconds
        self._postgres = engine.dialect.name == "postgresql"
        self._specs: OrderedDict[int, StoredSpec] = OrderedDict()
        self._specs_lock = threading.Lock()

    def _stored(self, experiment_id: int, data: Any) -> StoredSpec:
        """A stored spec, valid or not; it is parsed once, and again when the stored data have changed."""
        with self._specs_lock:
            known = self._specs.get(experiment_id)
            if known is None or known.data != data:
                self._specs[experiment_id] = known = read_stored(data)
            self._specs.move_to_end(experiment_id)
            if len(self._specs) > _SPECS_KEPT:
                self._specs.popitem(last=False)
            return known

    def _parsed(self, experiment_id: int, data: Any) -> ExperimentSpec:
        """A stored spec that is valid. Raises StoredSpecInvalid."""
        found = self._stored(experiment_id, data)
        if found.error is not None:
            raise StoredSpecInvalid(experiment_id, str(found.error))
        return found.spec

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        with translated(), self.engine.connect() as connection:
            if self._postgres:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """A transaction that commits at the end, or changes nothing when an exception leaves it."""
        with (
            translated(),
            self.engine.connect().execution_options(sparsemod_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT."""
        if self._postgres:
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table)
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)

    def _event(
        self, connection: sa.Connection, experiment_id: int, kind: str, data: dict[str, Any], now: float
    ) -> int:
        """Record an event; its counter. The experiment's row stays locked until the commit: counters appear in their order, without gaps,
        so that a reader who has seen N misses nothing that is below N."""
        counter = connection.execute(_COUNT_EVENT, {"which": experiment_id, "updated_at": now}).scalar()
        if counter is None:
            raise NotFound("experiment", experiment_id)
        connection.execute(
            _ADD_EVENT,
            {"experiment_id": experiment_id, "counter": counter, "time": now, "kind": kind, "data": data},
        )
        return int(counter)


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    """The same for a time that may not have come."""
    return None if seconds is None else moment(seconds)
