"""The store: the only SQL, and the truth about experiments, trials and attempts.

`Store.open(url)` brings the database to the newest schema. All methods may be called from several threads and processes at once. Times come from
`clock` (seconds since 1970), so that tests can let leases expire.

Split by subject: experiments, trials, suggestions (the queue), attempts and reports (workers), front (results), files, exports, series
(what the dashboard draws), derived (results of long computations), deletion, logins.
"""

import time
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from service.settings import Settings
from service.store.attempts import Attempts
from service.store.computed_views import Deriveds
from service.store.deletion import Deletion
from service.store.engine import (
    HEAD,
    LOCK_SECONDS,
    STATEMENT_SECONDS,
    Clock,
    open_engine,
    schema_version,
)
from service.store.exports import ExportJob, ExportJobs
from service.store.files import Files
from service.store.front import Fronts
from service.store.logins import Logins
from service.store.reports import RELEASED
from service.store.series import Series
from service.store.suggestions import Suggested, SuggesterLease, Suggestions, TrialRecord
from service.store.trials import SORTS
from sparsemod.errors import ServerUnavailable

log = structlog.get_logger("store")

RETRY_SECONDS = (0.5, 15.0)
"""First and longest pause before a database that did not answer is asked again."""

_TOUCH = sa.text("UPDATE alembic_version SET version_num = version_num")
"""A write that changes nothing: it fails where the disk is full or the database can only be read."""


class Store(Suggestions, Attempts, Fronts, Files, ExportJobs, Series, Deriveds, Deletion, Logins):
    """Everything that is stored; see the parts for the methods."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock = time.time,
        lease_seconds: float = 60.0,
        lock_seconds: float = LOCK_SECONDS,
        statement_seconds: float = STATEMENT_SECONDS,
    ) -> "Store":
        """Raises InvalidInput for a URL or a database that cannot be used, ServerUnavailable when it does not answer."""
        return cls(open_engine(url, lock_seconds, statement_seconds), clock, lease_seconds)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @property
    def backend(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self.engine.dialect.name

    def check(self) -> str:
        """The schema's version, after a write to the database. Raises ServerUnavailable."""
        with self._write() as connection:
            connection.execute(_TOUCH)
            return schema_version(connection) or ""


def open_store(settings: Settings) -> Store:
    """The store that `settings` name."""
    return Store.open(
        settings.url,
        lease_seconds=settings.lease_seconds,
        lock_seconds=settings.database_lock_seconds,
        statement_seconds=settings.database_statement_seconds,
    )


def open_patiently(settings: Settings, ended: Callable[[], bool]) -> Store | None:
    """The store, once its database answers; None when `ended()` is true before that. Raises InvalidInput for an impossible URL."""
    pause = RETRY_SECONDS[0]
    while not ended():
        try:
            return open_store(settings)
        except ServerUnavailable as error:
            log.warning("database away, will try again", reason=str(error), pause=pause)
        until = time.monotonic() + pause
        while time.monotonic() < until and not ended():
            time.sleep(0.05)
        pause = min(2 * pause, RETRY_SECONDS[1])
    return None


__all__ = [
    "HEAD",
    "RELEASED",
    "SORTS",
    "ExportJob",
    "Store",
    "Suggested",
    "SuggesterLease",
    "TrialRecord",
    "open_patiently",
    "open_store",
]
