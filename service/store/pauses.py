"""Pauses: after a failure of a machine, work that depends on it waits for a while.

A pause affects one worker and one experiment, one worker and all experiments, one experiment and all
workers, or everything. It expires by itself, and a success removes it. A repeated pause lasts longer.
"""

import contextlib
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import PauseView
from service.store.engine import moment
from service.store.idempotency import Idempotency
from service.store.tables import pauses
from sparsemod.errors import ServerUnavailable

PAUSE_SECONDS = (5.0, 300.0)
"""Length of the first pause for a cause, and of the longest one."""

FORGET_PAUSE_SECONDS = 3600.0
"""Seconds after the end of a pause until the next one for the same cause counts as a first one."""


class Pauses(Idempotency):
    """Methods of the store for pauses."""

    _full = False  # whether this server has reported a full disk

    def out_of_space(self, reason: str) -> None:
        """Pause all claims because files cannot be stored.

        Errors of the database are ignored: it may be on the same full disk.
        """
        with contextlib.suppress(ServerUnavailable):
            self.pause("space", reason)
        self._full = True

    def space_again(self) -> None:
        """Remove the pause for a full disk after a file was stored."""
        if self._full:
            self.unpause("space")
            self._full = False

    def pause(
        self,
        cause: str,
        reason: str,
        *,
        worker: str | None = None,
        experiment: int | None = None,
        claims: bool = True,
    ) -> float:
        """Pause `worker` (None: all) for `experiment` (None: all) and return the length of the pause in
        seconds.

        With `claims`, no trials are handed out during the pause. `cause` distinguishes pauses of the same
        worker and experiment: "worker", "files", "search", "space".
        """
        now = self.clock()
        with self._write() as connection:
            return self._pause(connection, cause, reason, now, worker, experiment, claims)

    def _pause(
        self,
        connection: sa.Connection,
        cause: str,
        reason: str,
        now: float,
        worker: str | None,
        experiment: int | None,
        claims: bool = True,
    ) -> float:
        key = _key(cause, worker, experiment)
        row = connection.execute(sa.select(pauses).where(pauses.c.key == key)).one_or_none()
        again = row is not None and now - row.until < FORGET_PAUSE_SECONDS
        count = 1 + (row._mapping["count"] if row is not None and again else 0)
        first, longest = PAUSE_SECONDS
        seconds = min(first * 2.0 ** min(count - 1, 30), longest)
        since = row.since if row is not None and again else now
        values = {"reason": reason, "since": since, "until": now + seconds, "count": count, "claims": claims}
        statement = self._insert(pauses).values(key=key, worker=worker, experiment_id=experiment, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=[pauses.c.key], set_=values))
        if experiment is not None and not again:
            self._event(connection, experiment, "experiment", {"paused": reason, "worker": worker}, now)
        return seconds

    def unpause(
        self, cause: str | None = None, *, worker: str | None = None, experiment: int | None = None
    ) -> int:
        """Remove the pauses that match cause, worker and experiment (None: any) and return their number."""
        with self._write() as connection:
            return self._unpause(connection, cause, worker, experiment)

    def _unpause(
        self, connection: sa.Connection, cause: str | None, worker: str | None, experiment: int | None
    ) -> int:
        conditions: list[Any] = []
        if cause is not None:
            conditions.append(pauses.c.key.startswith(f"{cause}/", autoescape=True))
        if worker is not None:
            conditions.append(pauses.c.worker == worker)
        if experiment is not None:
            conditions.append(pauses.c.experiment_id == experiment)
        return connection.execute(sa.delete(pauses).where(*conditions)).rowcount

    def _machine_works(self, connection: sa.Connection, worker: str, experiment: int) -> None:
        """Remove the pauses of a worker and an experiment after an attempt that did not fail because of the
        machine."""
        keys = [
            _key("worker", worker, experiment),
            _key("worker", worker, None),
            _key("files", None, experiment),
        ]
        connection.execute(sa.delete(pauses).where(pauses.c.key.in_(keys)))

    def searches_paused(self) -> set[int]:
        """Return the ids of the experiments whose search is paused after a failure of the suggester's
        machine."""
        with self._read() as connection:
            return set(
                connection.execute(
                    sa.select(pauses.c.experiment_id).where(
                        pauses.c.until > self.clock(), pauses.c.key.startswith("search/")
                    )
                ).scalars()
            )

    def pauses(self) -> list[PauseView]:
        """Return the active pauses, oldest first."""
        with self._read() as connection:
            return self._pauses(connection)

    def _pauses(self, connection: sa.Connection) -> list[PauseView]:
        active = pauses.c.until > self.clock()
        rows = connection.execute(sa.select(pauses).where(active).order_by(pauses.c.since, pauses.c.key))
        return [
            PauseView(
                reason=row.reason,
                worker=row.worker,
                experiment=row.experiment_id,
                since=moment(row.since),
                until=moment(row.until),
            )
            for row in rows
        ]


def _key(cause: str, worker: str | None, experiment: int | None) -> str:
    return f"{cause}/{'' if experiment is None else experiment}/{worker or ''}"


def pause_of(experiment: int, active: list[PauseView], alive: set[str]) -> str | None:
    """Return why an experiment makes no progress, None when it can.

    The reason is a pause for all workers, or the pauses of all workers that are `alive`.
    """
    mine = [pause for pause in active if pause.experiment in (None, experiment)]
    for pause in mine:
        if pause.worker is None:
            return pause.reason
    paused = {pause.worker: pause.reason for pause in mine if pause.worker is not None}
    if not alive or not alive <= set(paused):
        return None
    reasons: dict[str, list[str]] = {}
    for name in sorted(alive):
        reasons.setdefault(paused[name], []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
