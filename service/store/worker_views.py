"""The list of workers."""

import sqlalchemy as sa

from service.schemas.trials import AttemptState, PauseView
from service.schemas.workers import WorkerView
from service.store.attempts import SEEN_EVERY_SECONDS
from service.store.engine import moment
from service.store.pauses import Pauses
from service.store.tables import attempts, trials, workers

FORGET_WORKER_SECONDS = 3600.0
"""Seconds after which a worker that is gone is not listed any more."""


class Workers(Pauses):
    """Methods of the store that list workers."""

    def workers(self) -> list[WorkerView]:
        """Return the workers that were active in the last hour or hold trials, by name."""
        now = self.clock()
        with self._read() as connection:
            running_trials: dict[str, list[tuple[int, int]]] = {}
            heard: dict[str, float] = {}
            running = connection.execute(
                sa.select(attempts.c.worker, attempts.c.heartbeat_at, trials.c.experiment_id, trials.c.index)
                .join(trials, trials.c.id == attempts.c.trial_id)
                .where(attempts.c.state == AttemptState.RUNNING)
                .order_by(attempts.c.id)
            )
            for row in running:
                running_trials.setdefault(row.worker, []).append((row.experiment_id, row._mapping["index"]))
                heard[row.worker] = max(heard.get(row.worker, 0.0), row.heartbeat_at)
            paused: dict[str | None, list[PauseView]] = {}
            for pause in self._pauses(connection):
                paused.setdefault(pause.worker, []).append(pause)
            views = []
            for row in connection.execute(sa.select(workers).order_by(workers.c.name)):
                last = max(row.last_seen, heard.get(row.name, 0.0))
                if now - last <= FORGET_WORKER_SECONDS or row.name in running_trials:
                    views.append(
                        WorkerView(
                            name=row.name,
                            device=row.device,
                            slots=row.slots,
                            first_seen=moment(row.first_seen),
                            last_seen=moment(last),
                            draining=row.draining,
                            pauses=tuple(paused.get(row.name, ())),
                            alive=now - last <= max(self.lease_seconds, 3 * SEEN_EVERY_SECONDS),
                            trials=tuple(running_trials.get(row.name, ())),
                        )
                    )
            return views
