"""Open the database: connections, transactions, schema version.

SQLite runs in WAL mode, so readers never wait for the writer. A write transaction starts with BEGIN
IMMEDIATE, so it never upgrades a read lock. PostgreSQL runs in READ COMMITTED; row locks and conditional
updates prevent double execution.
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
from service.telemetry import span
from sparsemod.errors import Conflict, InvalidInput, NotFound, ServerUnavailable
from sparsemod.spec.experiment import ExperimentSpec

LOCK_SECONDS = 10.0
"""Seconds that a statement waits for a lock, and a thread for a connection."""

STATEMENT_SECONDS = 60.0
"""Seconds that a statement may run. On SQLite this includes reading its rows."""

CONNECT_SECONDS = 10
"""Seconds that connecting to PostgreSQL may take, and that a connection may be silent before it counts as
broken."""

IDLE_SECONDS = 1.0
"""A connection to PostgreSQL that was idle for longer is tested before its next use."""

MIGRATION_SECONDS = 300.0
"""Seconds that a migration waits for a concurrent one."""

_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EROFS, errno.ENAMETOOLONG}

_STEPS = 20_000
"""SQLite checks the time limit each time it has executed this many instructions."""

MIGRATIONS = Path(__file__).with_name("migrations")

HEAD = "0014"
"""Newest migration. A database at this version skips the import of Alembic, which is slow."""

_MIGRATION_LOCK = 0x73706D64  # arbitrary constant

_SPECS_KEPT = 256

Row = sa.RowMapping
Clock = Callable[[], float]

# Statements of hot paths are built once: building one costs as much as running it.
COUNT_EVENT = (
    sa.update(experiments)
    .where(experiments.c.id == sa.bindparam("which"))
    .values(events=experiments.c.events + sa.bindparam("count"), updated_at=sa.bindparam("updated_at"))
    .returning(experiments.c.events)
)
ADD_EVENT = sa.insert(events)


def open_engine(
    url: str, lock_seconds: float = LOCK_SECONDS, statement_seconds: float = STATEMENT_SECONDS
) -> sa.Engine:
    """Migrate the database at `url` to the newest schema and return an engine that enforces the time limits.

    Raises InvalidInput for an unusable URL, ServerUnavailable.
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
        sa.event.listen(engine, "checkin", _on_postgres_checkin)
        sa.event.listen(engine, "checkout", partial(_on_postgres_checkout, engine.dialect))
    try:
        with translated():
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_private(path: Path) -> None:
    """Create the SQLite file when it is missing, readable by its owner only.

    SQLite gives the files beside it the same mode. For an existing file, remove the access of other users
    and leave the group's access unchanged. Raises InvalidInput for an unusable path, ServerUnavailable for a
    disk that does not work at the moment.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if file.exists() and (status := file.stat()).st_mode & 0o007 and status.st_uid == os.geteuid():
                file.chmod(status.st_mode & 0o770)
    except OSError as error:
        if error.errno in _UNUSABLE:
            allowed = f"a file that can be created and written ({error.strerror})"
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


def _on_postgres_checkin(_: Any, record: Any) -> None:
    record.info["idle_since"] = time.monotonic()


def _on_postgres_checkout(dialect: sa.Dialect, connection: Any, record: Any, _: Any) -> None:
    """Test an idle connection: a restarted server has closed it. SQLAlchemy then opens another one."""
    if time.monotonic() - record.info.get("idle_since", math.inf) < IDLE_SECONDS:
        return
    try:
        alive = dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error:
        alive = False
    if not alive:
        raise exc.DisconnectionError


def _on_sqlite_connect(lock_seconds: float, connection: Any, record: Any) -> None:
    # SQLite has no statement time limit. Its progress handler aborts a statement after the deadline.
    deadline = record.info["deadline"] = [math.inf]
    connection.set_progress_handler(lambda: time.monotonic() > deadline[0], _STEPS)
    connection.isolation_level = None  # no implicit BEGIN by the driver, see _on_sqlite_begin
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(lock_seconds * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL mode, NORMAL survives a killed process. A power cut may lose the last commits but corrupts
    # nothing.
    cursor.execute("PRAGMA synchronous = NORMAL")
    # A checkpoint waits for the disk: rarely, because pages that change often are then written once. 16 MB.
    cursor.execute("PRAGMA wal_autocheckpoint = 4000")
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
        # Server and suggester may start on an empty database at the same time. The lock lets one of them
        # create the tables.
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
    """Return the database's schema version, None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def translated() -> Iterator[None]:
    """Translate SQLAlchemy's exceptions to Conflict, InvalidInput and ServerUnavailable."""
    try:
        yield
    except exc.IntegrityError as error:
        raise Conflict(f"contradicts the stored data: {error.orig}") from error
    except exc.DataError as error:
        raise InvalidInput("value", str(error.orig), "a value that the database can store") from error
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        reason = _REASONS.get(reason, reason)
        raise ServerUnavailable(f"the database does not answer: {reason}") from error


_REASONS = {
    "interrupted": "a statement took longer than SPARSEMOD_DATABASE_STATEMENT_SECONDS",
    "database is locked": "another process held the lock longer than SPARSEMOD_DATABASE_LOCK_SECONDS (database is locked)",
}
"""SQLite's messages -> explanations."""


def owned_by(owner: str | None, column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a row belongs to `owner`; None: to nobody, as on a server without logins."""
    return column.is_(None) if owner is None else column == owner


class Base:
    """Shared base of the store's classes: engine, clock, transactions, events.

    Lock order, which prevents deadlocks: attempt or export job, then trial, then experiment. A transaction
    that locks the record of a file against new references locks nothing else.
    """

    def __init__(self, engine: sa.Engine, clock: Clock = time.time, lease_seconds: float = 60.0) -> None:
        self.engine, self.clock, self.lease_seconds = engine, clock, lease_seconds
        self._system = engine.dialect.name
        self._postgres = self._system == "postgresql"
        self._specs: OrderedDict[int, StoredSpec] = OrderedDict()
        self._specs_lock = threading.Lock()
        self._texts: dict[int, tuple[str, StoredSpec]] = {}
        # A writer that waits for SQLite's lock sleeps and tries again. A lock of this process wakes the next thread
        # at once.
        self._writing = None if self._postgres else threading.Lock()

    def _stored(self, experiment_id: int, data: Any) -> StoredSpec:
        """Return a stored spec, valid or not. Cached until the stored data change."""
        with self._specs_lock:
            stored = self._specs.get(experiment_id)
            if stored is None or stored.data != data:
                self._specs[experiment_id] = stored = read_stored(data)
            self._specs.move_to_end(experiment_id)
            if len(self._specs) > _SPECS_KEPT:
                self._specs.popitem(last=False)
            return stored

    def _parsed(self, experiment_id: int, data: Any) -> ExperimentSpec:
        """Return a stored spec. Raises StoredSpecInvalid when it does not validate."""
        stored = self._stored(experiment_id, data)
        if stored.error is not None:
            raise StoredSpecInvalid(experiment_id, str(stored.error))
        return stored.spec

    def _stored_text(self, experiment_id: int, text: str) -> StoredSpec:
        """Return a stored spec, valid or not, from its stored text. Cached until the text changes."""
        known = self._texts.get(experiment_id)
        if known is not None and known[0] == text:
            return known[1]
        stored = self._stored(experiment_id, json.loads(text))
        if len(self._texts) >= _SPECS_KEPT:
            self._texts.clear()
        self._texts[experiment_id] = (text, stored)
        return stored

    def spec_json(self, experiment_id: int) -> str | None:
        """Return the JSON of the spec that was read last, None when it is not known or not valid."""
        known = self._texts.get(experiment_id)
        return None if known is None or known[1].error is not None else known[1].json

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """Read-only transaction on one consistent snapshot of the database."""
        with (
            span("store read", db_system_name=self._system),
            translated(),
            self.engine.connect() as connection,
        ):
            if self._postgres:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """Write transaction. It commits at the end and rolls back when an exception is raised."""
        with (
            span("store write", db_system_name=self._system),
            self._turn(),
            translated(),
            self.engine.connect().execution_options(sparsemod_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other thread of this process writes to SQLite. Raises ServerUnavailable."""
        if self._writing is None:
            yield
            return
        pool = self.engine.pool
        seconds = pool.timeout() if isinstance(pool, sa.QueuePool) else LOCK_SECONDS
        if not self._writing.acquire(timeout=seconds):
            raise ServerUnavailable(f"the database does not answer: {_REASONS['database is locked']}")
        try:
            yield
        finally:
            self._writing.release()

    def _insert(self, table: sa.Table) -> Any:
        """Return the dialect's INSERT, which supports ON CONFLICT."""
        if self._postgres:
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table)
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)

    def _event(
        self,
        connection: sa.Connection,
        experiment_id: int,
        kind: str,
        data: dict[str, Any],
        now: float,
    ) -> int:
        """Record an event and return its counter.

        The experiment's row stays locked until the commit. Counters therefore become visible in order and
        without gaps: a reader that has seen N has missed nothing below N. Raises NotFound.
        """
        bound = {"which": experiment_id, "updated_at": now, "count": 1}
        counter = connection.execute(COUNT_EVENT, bound).scalar()
        if counter is None:
            raise NotFound("experiment", experiment_id)
        row = {"experiment_id": experiment_id, "counter": counter, "time": now, "kind": kind, "data": data}
        connection.execute(ADD_EVENT, row)
        return int(counter)


def moment(seconds: float) -> datetime:
    """Convert seconds since 1970 to a UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    """Convert seconds since 1970 to a UTC datetime. None stays None."""
    return None if seconds is None else moment(seconds)
