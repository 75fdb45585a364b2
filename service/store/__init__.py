"""The store: all SQL of the service. It holds the state of experiments, trials and attempts.

`Store.open(url)` migrates the database to the newest schema. All methods are safe to call from several
threads and processes at once. Times come from `clock` (seconds since 1970); tests replace it to let leases
expire.

One module for each subject: experiments, trials, suggestions (the queue), attempts, reports, groups (of reports) and worker_views (workers),
front (results), files, exports, series (data for the dashboard's plots), computed_views (results of long
computations), models (uploaded ones), deletion, retention (deletion by age), quotas, webhooks, logins, audit, figures (monitoring).
"""

import time
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from service.client.backoff import Backoff
from service.settings import Settings
from service.store.audit import Audit
from service.store.computed_views import ComputedViews
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
from service.store.figures import Monitoring
from service.store.files import Files
from service.store.groups import Groups
from service.store.logins import Logins
from service.store.models import Models
from service.store.quotas import QuotaLimits
from service.store.reports import RELEASED
from service.store.retention import Retention
from service.store.series import Series
from service.store.suggestions import SuggesterLease, Suggestions
from service.store.trials import SORTS
from service.store.webhook_deliveries import WebhookDeliveries
from service.store.webhooks import Webhooks
from service.store.worker_views import Workers
from sparsemod.errors import ServerUnavailable

log = structlog.get_logger("store")

RETRY_SECONDS = (0.5, 15.0)
"""First and longest pause before reconnecting to a database that does not answer."""

_TOUCH = sa.text("UPDATE alembic_version SET version_num = version_num")
"""A write that changes no data. It fails when the disk is full or the database is read-only."""


class Store(
    Suggestions,
    Groups,
    Workers,
    Webhooks,
    WebhookDeliveries,
    Retention,
    Files,
    ExportJobs,
    Series,
    ComputedViews,
    Models,
    Deletion,
    Logins,
    Audit,
    Monitoring,
):
    """The whole store. The base classes define the methods."""

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
        """Open the store at `url`.

        Raises InvalidInput for an unusable URL or database, ServerUnavailable when the database does not
        answer.
        """
        return cls(open_engine(url, lock_seconds, statement_seconds), clock, lease_seconds)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @property
    def backend(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self.engine.dialect.name

    def check(self) -> str:
        """Write to the database and return the schema version. Raises ServerUnavailable."""
        with self._write() as connection:
            connection.execute(_TOUCH)
            return schema_version(connection) or ""


def open_store(settings: Settings) -> Store:
    """Open the store that `settings` describe. Raises InvalidInput, ServerUnavailable."""
    store = Store.open(
        settings.url,
        lease_seconds=settings.lease_seconds,
        lock_seconds=settings.database_lock_seconds,
        statement_seconds=settings.database_statement_seconds,
    )
    store.quotas = QuotaLimits.of(settings)
    return store


def open_patiently(settings: Settings, ended: Callable[[], bool]) -> Store | None:
    """Wait for the database and open the store. Return None when `ended()` becomes true first.

    Raises InvalidInput for an unusable URL.
    """
    backoff = Backoff(*RETRY_SECONDS)
    while not ended():
        try:
            return open_store(settings)
        except ServerUnavailable as error:
            log.warning("database unavailable, retrying", reason=str(error))
        backoff.wait(ended)
    return None


__all__ = [
    "HEAD",
    "RELEASED",
    "SORTS",
    "ExportJob",
    "Store",
    "SuggesterLease",
    "open_patiently",
    "open_store",
]
