"""Pauses: what cannot go on because a machine lacks something, and until when nobody tries again.

A pause holds a worker back from an experiment, a worker from all, an experiment from all workers, or everything. It ends by itself, and whatever
ends well removes it; one that comes again lasts longer.
"""

import contextlib
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import PauseView
from service.store.engine import Base, moment
from service.store.tables import pauses
from sparsemod.errors import ServerUnavailable

PAUSE_SECONDS = (5.0, 300.0)
"""How long the first pause for a reason lasts, and the longest."""

FORGET_PAUSE_SECONDS = 3600.0
"""After how long without trying a pause counts as a first one again."""


class Pauses(Base):
    """The part of the store about pauses."""

    _full = False  # whether this server has reported that there is no space

    def out_of_space(self, reason: str) -> None:
        """Files cannot be stored: hand out no trials for a while. The database may be on the same disk: then its own errors say so."""
        with contextlib.suppress(ServerUnavailable):
            self.pause("space", reason)
        self._full = True

    def space_again(self) -> None:
        """A file was stored."""
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
        """Pause `worker` (None: all of them) for `experiment` (None: all); seconds until it is tried again. With `claims`, no trials are handed
        out meanwhile. `cause` tells pauses of the same worker and experiment apart: "worker", "files", "search", "space"."""
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
        made = self._insert(pauses).values(key=key, worker=worker, experiment_id=experiment, **values)
        connection.execute(made.on_conflict_do_update(index_elements=[pauses.c.key], set_=values))
        if experiment is not None and not again:
            self._event(connection, experiment, "experiment", {"paused": reason, "worker": worker}, now)
        return seconds

    def unpause(
        self, cause: str | None = None, *, worker: str | None = None, experiment: int | None = None
    ) -> int:
        """Remove the pauses of a cause, a worker or an experiment; how many there were."""
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

    def _went_well(self, connection: sa.Connection, worker: str, experiment: int) -> None:
        """An attempt came to an end that has nothing to do with the machine."""
        keys = [
            _key("worker", worker, experiment),
            _key("worker", worker, None),
            _key("files", None, experiment),
        ]
        connection.execute(sa.delete(pauses).where(pauses.c.key.in_(keys)))

    def searches_paused(self) -> set[int]:
        """The experiments whose search waits for something that the suggester's machine lacks."""
        with self._read() as connection:
            return set(
                connection.execute(
                    sa.select(pauses.c.experiment_id).where(
                        pauses.c.until > self.clock(), pauses.c.key.startswith("search/")
                    )
                ).scalars()
            )

    def pauses(self) -> list[PauseView]:
        """The pauses that hold now, oldest first."""
        with self._read() as connection:
            return self._pauses(connection)

    def _pauses(self, connection: sa.Connection) -> list[PauseView]:
        holding = pauses.c.until > self.clock()
        rows = connection.execute(sa.select(pauses).where(holding).order_by(pauses.c.since, pauses.c.key))
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


def pause_of(experiment: int, found: list[PauseView], alive: set[str]) -> str | None:
    """Why an experiment does not go on: what holds it for every worker, or what holds each of the workers that are `alive`. None when it can."""
    mine = [pause for pause in found if pause.experiment in (None, experiment)]
    for pause in mine:
        if pause.worker is None:
            return pause.reason
    held = {pause.worker: pause.reason for pause in mine if pause.worker is not None}
    if not alive or not alive <= set(held):
        return None
    reasons: dict[str, list[str]] = {}
    for name in sorted(alive):
        reasons.setdefault(held[name], []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
