"""Quotas: how much an owner may store. Each limit applies to every owner alike.

A quota is checked in the transaction that creates something, so two requests cannot both take the last place.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from service.errors import QuotaExceeded
from service.schemas.quotas import QuotaName
from service.schemas.trials import ExperimentState
from service.settings import Settings
from service.store.engine import owned_by
from service.store.pauses import Pauses
from service.store.tables import artifacts, experiments, models, pauses, trial_artifacts, trials

PAUSE_SECONDS = 180.0
"""How long running experiments wait when their owner's disk quota is used up; renewed every minute."""

_LOCK = 0x73706D71  # arbitrary constant

_ADVICE: Mapping[QuotaName, str] = {
    "disk": "delete experiments or models first",
    "uploads": "delete models first",
    "experiments": "delete experiments first",
    "streams": "close other pages first",
}


@dataclass(frozen=True)
class QuotaLimits:
    """The limits of an owner; 0: none. `disk` is in bytes."""

    disk: int = 0
    uploads: int = 0
    experiments: int = 0
    streams: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "QuotaLimits":
        """Return the limits of the settings."""
        return cls(
            disk=settings.quota_disk_bytes,
            uploads=settings.quota_uploads,
            experiments=settings.quota_experiments,
            streams=settings.quota_streams,
        )

    def check(self, name: QuotaName, owner: str | None, used: int, adding: int) -> None:
        """Raise QuotaExceeded when `adding` does not fit in the quota."""
        limit: int = getattr(self, name)
        if limit and used + adding > limit:
            raise QuotaExceeded(name, owner, used, adding, limit, _ADVICE[name])


class Quotas(Pauses):
    """Methods of the store for quotas."""

    quotas = QuotaLimits()

    def quota_use(self, owner: str | None) -> dict[QuotaName, int]:
        """Return what an owner uses of the quotas that the database knows."""
        with self._read() as connection:
            names: tuple[QuotaName, ...] = ("disk", "uploads", "experiments")
            return {name: _used(connection, owner, name) for name in names}

    def _check_quota(
        self, connection: sa.Connection, owner: str | None, name: QuotaName, adding: int = 1
    ) -> None:
        """Raise QuotaExceeded when the owner has no room. The owner cannot create anything else meanwhile."""
        if not getattr(self.quotas, name):
            return
        if self._postgres:  # SQLite allows one writer only
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, sa.func.hashtext(owner or ""))))
        self.quotas.check(name, owner, _used(connection, owner, name), adding)

    def pause_over_quota(self) -> list[int]:
        """Pause the running experiments of owners whose disk quota is used up, end the pause of the others, and
        return the paused ones. Trials under way finish and keep their results."""
        if not self.quotas.disk:
            return []
        now = self.clock()
        with self._read() as connection:
            query = sa.select(experiments.c.id, experiments.c.owner).where(
                experiments.c.state == ExperimentState.RUNNING.value
            )
            running = list(connection.execute(query.order_by(experiments.c.id)))
            used = {owner: _used(connection, owner, "disk") for owner in {row.owner for row in running}}
            known = set(connection.execute(sa.select(pauses.c.key)).scalars())
        paused = []
        for row in running:
            key = f"quota/{row.id}/"
            over = used[row.owner] >= self.quotas.disk
            if over:
                paused.append(row.id)
            elif key not in known:
                continue
            with self._write() as connection:
                if not over:
                    connection.execute(sa.delete(pauses).where(pauses.c.key == key))
                    continue
                state = sa.select(experiments.c.id).where(experiments.c.id == row.id)
                if connection.execute(state.with_for_update(read=True)).scalar() is None:
                    continue  # deleted meanwhile
                error = QuotaExceeded(
                    "disk", row.owner, used[row.owner], 0, self.quotas.disk, _ADVICE["disk"]
                )
                values = {"reason": str(error), "until": now + PAUSE_SECONDS, "claims": True}
                add = self._insert(pauses).values(
                    key=key, experiment_id=row.id, since=now, count=1, worker=None, **values
                )
                connection.execute(add.on_conflict_do_update(index_elements=[pauses.c.key], set_=values))
                if key not in known:
                    data = {"paused": str(error), "worker": None}
                    self._event(connection, row.id, "experiment", data, now)
        return paused


def _used(connection: sa.Connection, owner: str | None, name: QuotaName) -> int:
    mine = owned_by(owner, experiments.c.owner)
    uploaded = owned_by(owner, models.c.owner)
    count = sa.select(sa.func.count())
    if name == "experiments":
        return int(connection.execute(count.select_from(experiments).where(mine)).scalar_one())
    if name == "uploads":
        return int(connection.execute(count.select_from(models).where(uploaded)).scalar_one())
    of_trials = trials.join(experiments, experiments.c.id == trials.c.experiment_id)
    used = sa.union(
        sa.select(trial_artifacts.c.digest)
        .select_from(of_trials.join(trial_artifacts, trial_artifacts.c.trial_id == trials.c.id))
        .where(mine),
        sa.select(trials.c.checkpoint).select_from(of_trials).where(mine, trials.c.checkpoint.is_not(None)),
        sa.select(models.c.digest).where(uploaded),
    ).subquery()
    total = sa.select(sa.func.sum(artifacts.c.size)).where(artifacts.c.digest.in_(sa.select(used.c[0])))
    return int(connection.execute(total).scalar() or 0)
