"""Compares the database with the folder of artifacts: rows without files, files without rows, damaged files."""

from dataclasses import dataclass, field

import sqlalchemy as sa

from service.files.artifacts import ArtifactFiles
from service.store import Store
from service.store.tables import artifacts, trial_artifacts, trials
from sparsemod.files import digest_of

GRACE_SECONDS = 3600.0
"""A file younger than this may belong to an upload that is not recorded yet."""


@dataclass
class Findings:
    """Digests that do not agree. `missing`: recorded, but not in the folder. `damaged`: the content or the size
    differs. `unrecorded`: in the folder for an hour, but in no row."""

    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    trials: list[tuple[int, int, str]] = field(default_factory=list)
    """Experiment, trial and digest of each reference to a missing or damaged file."""

    @property
    def healthy(self) -> bool:
        """Return whether everything agrees."""
        return not (self.missing or self.damaged or self.unrecorded)


def examine(store: Store, files: ArtifactFiles, *, content: bool = False) -> Findings:
    """Compare rows and files. `content`: also read every file and compare its digest."""
    found = Findings()
    # The folder first: a file that is stored meanwhile then has a row.
    old = files.old(GRACE_SECONDS)
    with store._read() as connection:
        recorded = {row.digest: row.size for row in connection.execute(sa.select(artifacts))}
        for digest, size in sorted(recorded.items()):
            path = files.path(digest)
            if not path.is_file():
                found.missing.append(digest)
            elif path.stat().st_size != size or (content and digest_of(path) != digest):
                found.damaged.append(digest)
        found.unrecorded = sorted(set(old) - set(recorded))
        wrong = {*found.missing, *found.damaged}
        used = sa.select(trials.c.experiment_id, trials.c.index, trial_artifacts.c.digest).join(
            trial_artifacts, trial_artifacts.c.trial_id == trials.c.id
        )
        saved = sa.select(trials.c.experiment_id, trials.c.index, trials.c.checkpoint).where(
            trials.c.checkpoint.is_not(None)
        )
        found.trials = sorted(
            (experiment, index, digest)
            for query in (used, saved)
            for experiment, index, digest in connection.execute(query)
            if digest in wrong
        )
    return found


def mend(store: Store, files: ArtifactFiles, found: Findings) -> None:
    """Make rows and files agree: delete the references to missing and damaged files, these files' rows, and the files
    without a row. The trials keep their results. A network can be exported again only from a trial with weights."""
    wrong = [*found.missing, *found.damaged]
    for digest in wrong:
        with store._write() as connection:
            connection.execute(sa.delete(trial_artifacts).where(trial_artifacts.c.digest == digest))
            connection.execute(sa.update(trials).where(trials.c.checkpoint == digest).values(checkpoint=None))
            files.remove(digest)
            connection.execute(sa.delete(artifacts).where(artifacts.c.digest == digest))
    store.drop_unrecorded(found.unrecorded, files.remove)


def vacuum(store: Store) -> None:
    """Give the space of deleted rows back: VACUUM, and new statistics for the planner."""
    if store.backend == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM (ANALYZE)")
            connection.invalidate()  # no other user of the pool may get a connection without a time limit
        return
    connection_of_pool = store.engine.raw_connection()
    try:
        # Not through the engine, which begins a transaction; VACUUM cannot run in one.
        for statement in ("VACUUM", "ANALYZE"):
            connection_of_pool.cursor().execute(statement)
    finally:
        connection_of_pool.close()
