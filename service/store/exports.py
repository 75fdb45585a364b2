"""Files that were made from a trial's network after it had finished. The trial itself stays as it is."""

from collections.abc import Sequence

import sqlalchemy as sa

from service.models import artifacts, trial_artifacts, trials
from service.store.engine import Base
from sparsemod.errors import NotFound
from sparsemod.records import Artifact


class ExportedFiles(Base):
    """The part of the store about exports."""

    def add_files(self, experiment_id: int, index: int, files: Sequence[Artifact]) -> None:
        """Add stored files to a trial; one with the same kind and name is replaced. Raises NotFound."""
        now = self.clock()
        with self._write() as connection:
            # Trials are locked before their experiment (see Base).
            trial_id = connection.execute(
                sa.select(trials.c.id)
                .where(trials.c.experiment_id == experiment_id, trials.c.index == index)
                .with_for_update()
            ).scalar()
            if trial_id is None:
                raise NotFound("trial", index)
            for file in files:
                known = {"digest": file.digest, "size": file.size, "created_at": now}
                connection.execute(self._insert(artifacts).values(**known).on_conflict_do_nothing())
                row = self._insert(trial_artifacts).values(trial_id=trial_id, **file.model_dump(mode="json"))
                key = [trial_artifacts.c.trial_id, trial_artifacts.c.kind, trial_artifacts.c.name]
                changes = {"digest": file.digest, "size": file.size}
                connection.execute(row.on_conflict_do_update(index_elements=key, set_=changes))
            self._event(connection, experiment_id, "trial", {"index": index, "files": len(files)}, now)
