"""The store: the only SQL, and the truth about experiments, trials and attempts.

`Store.open(url)` brings the database to the newest schema. All methods may be called from several threads and processes at once. Times come from
`clock` (seconds since 1970), so that tests can let leases expire.

Split by subject: experiments, trials, suggestions (the queue), attempts and reports (workers), front (results), files, exports, series
(what the dashboard draws), derived (results of long computations), deletion, logins.
"""

import time

from service.settings import Settings
from service.store.attempts import Attempts
from service.store.computed_views import Deriveds
from service.store.deletion import Deletion
from service.store.engine import HEAD, Clock, open_engine, schema_version
from service.store.exports import ExportJob, ExportJobs
from service.store.files import Files
from service.store.front import Fronts
from service.store.logins import Logins
from service.store.reports import RELEASED
from service.store.series import Series
from service.store.suggestions import Suggested, SuggesterLease, Suggestions, TrialRecord
from service.store.trials import SORTS


class Store(Suggestions, Attempts, Fronts, Files, ExportJobs, Series, Deriveds, Deletion, Logins):
    """Everything that is stored; see the parts for the methods."""

    @classmethod
    def open(cls, url: str, *, clock: Clock = time.time, lease_seconds: float = 60.0) -> "Store":
        """Raises InvalidInput for a URL or a database that cannot be used, ServerUnavailable when it does not answer."""
        return cls(open_engine(url), clock, lease_seconds)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @property
    def backend(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self.engine.dialect.name

    def check(self) -> str:
        """The schema's version, read from the database. Raises ServerUnavailable."""
        with self._read() as connection:
            return schema_version(connection) or ""


def open_store(settings: Settings) -> Store:
    """The store that `settings` name."""
    return Store.open(settings.url, lease_seconds=settings.lease_seconds)


__all__ = [
    "HEAD",
    "RELEASED",
    "SORTS",
    "ExportJob",
    "Store",
    "Suggested",
    "SuggesterLease",
    "TrialRecord",
    "open_store",
]
