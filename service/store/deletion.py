"""Delete an experiment with all its data."""

import sqlalchemy as sa

from service.store.experiments import Experiments
from service.store.tables import attempts, deletions, experiments, export_jobs, trial_artifacts, trials


class Deletion(Experiments):
    """Methods of the store that delete experiments."""

    def delete_experiment(self, experiment_id: int, login: int | None = None) -> list[str]:
        """Delete an experiment with its trials, attempts, events and exports.

        Return the digests of its files. `drop` then deletes the files that nothing else refers to. A worker
        that holds one of the trials learns of the deletion at its next report. Raises NotFound.
        """
        mine = trials.c.experiment_id == experiment_id
        with self._write() as connection:
            name = self._row(connection, experiment_id)["name"]
            if self._postgres:  # attempt and export job, then trial, then experiment: see Base
                attempt_ids = (
                    sa.select(attempts.c.id).join(trials, trials.c.id == attempts.c.trial_id).where(mine)
                )
                connection.execute(attempt_ids.order_by(attempts.c.id).with_for_update(of=attempts)).all()
                jobs = sa.select(export_jobs.c.id).where(export_jobs.c.experiment_id == experiment_id)
                connection.execute(jobs.order_by(export_jobs.c.id).with_for_update()).all()
                connection.execute(
                    sa.select(trials.c.id).where(mine).order_by(trials.c.id).with_for_update()
                ).all()
            used = sa.union(
                sa.select(trial_artifacts.c.digest)
                .join(trials, trials.c.id == trial_artifacts.c.trial_id)
                .where(mine),
                sa.select(trials.c.checkpoint).where(mine, trials.c.checkpoint.is_not(None)),
            )
            digests = sorted(connection.execute(used).scalars())
            deleted = connection.execute(sa.delete(experiments).where(experiments.c.id == experiment_id))
            if deleted.rowcount:
                connection.execute(
                    sa.insert(deletions),
                    {"experiment_id": experiment_id, "name": name, "login": login, "time": self.clock()},
                )
            return digests
