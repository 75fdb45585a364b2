"""Records of stored files: digest and size. `service.files.artifacts` stores the content.

Several processes may store, use and delete the same content at once. Therefore a file is created or deleted
only in a transaction that has locked its record, so storing waits for deleting and the other way round.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import ArtifactInfo
from service.store.engine import Base
from service.store.tables import artifacts, models, trial_artifacts, trials
from sparsemod.errors import NotFound

STRAY_SECONDS = 86_400.0
"""Grace period in seconds for unreferenced files. No trial takes longer from an upload to its report."""

_BATCH = 200

_REFERENCES = (trial_artifacts.c.digest, trials.c.checkpoint, models.c.digest)


class Files(Base):
    """Methods of the store for files."""

    def add_artifact(self, digest: str, size: int, place: Callable[[], object] | None = None) -> ArtifactInfo:
        """Record a file. `place` moves the content to its path while the record is locked against deletion.

        A file that exists already stays for the grace period, see `drop`.
        """
        now = self.clock()
        add = self._insert(artifacts).values(digest=digest, size=size, created_at=now)
        add = add.on_conflict_do_update(index_elements=[artifacts.c.digest], set_={"asked_at": now})
        with self._write() as connection:
            connection.execute(add)
            if place is not None:
                place()
        return ArtifactInfo.of(digest, size)

    def artifact(self, digest: str) -> ArtifactInfo:
        """Return digest, size and URL of a file. Raises NotFound."""
        with self._read() as connection:
            size = connection.execute(
                sa.select(artifacts.c.size).where(artifacts.c.digest == digest)
            ).scalar()
        if size is None:
            raise NotFound("artifact", digest)
        return ArtifactInfo.of(digest, size)

    def ask_artifact(self, digest: str) -> ArtifactInfo:
        """Return a file's record to a caller that will refer to it without an upload.

        It stays for the grace period, see `drop`. Raises NotFound.
        """
        info = self.artifact(digest)  # most files are missing: then no write lock is taken
        with self._write() as connection:
            change = sa.update(artifacts).where(artifacts.c.digest == digest)
            if not connection.execute(change.values(asked_at=self.clock())).rowcount:
                raise NotFound("artifact", digest)
        return info

    def known_artifacts(self, digests: Sequence[str]) -> set[str]:
        """Return the recorded ones of `digests`."""
        known: set[str] = set()
        with self._read() as connection:
            for start in range(0, len(digests), 500):
                query = sa.select(artifacts.c.digest).where(
                    artifacts.c.digest.in_(digests[start : start + 500])
                )
                known.update(connection.execute(query).scalars())
        return known

    def drop(self, digests: Sequence[str], remove: Callable[[str], object]) -> int:
        """Delete the unreferenced files of `digests` and return their number. `remove` deletes the content.

        A file whose existence was reported to an uploader stays for STRAY_SECONDS, because a reference may
        follow.
        """
        limit = self.clock() - STRAY_SECONDS
        return self._drop(
            digests, remove, sa.or_(artifacts.c.asked_at.is_(None), artifacts.c.asked_at < limit)
        )

    def drop_strays(self, seconds: float, remove: Callable[[str], object]) -> int:
        """Delete all unreferenced files that were stored, and last asked for, more than `seconds` ago.

        Return their number. Sources of such files: uploads of workers that died before their report,
        replaced checkpoints and exports, interrupted deletions.
        """
        old = sa.func.coalesce(artifacts.c.asked_at, artifacts.c.created_at) < self.clock() - seconds
        unused = [
            artifacts.c.digest.not_in(sa.select(column).where(column.is_not(None))) for column in _REFERENCES
        ]
        with self._read() as connection:
            strays = list(connection.execute(sa.select(artifacts.c.digest).where(old, *unused)).scalars())
        return self._drop(strays, remove, old)

    def drop_unrecorded(self, digests: Sequence[str], remove: Callable[[str], object]) -> int:
        """Delete files without a record and return their number.

        A server killed during an upload leaves such files.
        """
        count = 0
        for digest in digests:
            # The uncommitted record serves as a lock: a concurrent upload of this digest waits for it.
            add = self._insert(artifacts).values(digest=digest, size=0, created_at=0.0)
            add = add.on_conflict_do_nothing().returning(artifacts.c.digest)
            with self._write() as connection:
                if connection.execute(add).scalar() is not None:
                    remove(digest)
                    connection.execute(sa.delete(artifacts).where(artifacts.c.digest == digest))
                    count += 1
        return count

    def _drop(self, digests: Sequence[str], remove: Callable[[str], object], allowed: Any) -> int:
        count = 0
        ordered = sorted(digests)
        for start in range(0, len(ordered), _BATCH):
            with self._write() as connection:
                among = artifacts.c.digest.in_(ordered[start : start + _BATCH])
                lock = sa.select(artifacts.c.digest).where(among, allowed).order_by(artifacts.c.digest)
                unused = set(connection.execute(lock.with_for_update()).scalars())
                for column in _REFERENCES:
                    used = sa.select(column).where(column.in_(sorted(unused)))
                    unused.difference_update(connection.execute(used).scalars())
                # Content first: when the deletion of the record fails, the next upload restores the content.
                for digest in sorted(unused):
                    remove(digest)
                connection.execute(sa.delete(artifacts).where(artifacts.c.digest.in_(sorted(unused))))
                count += len(unused)
        return count


def lock_files(connection: sa.Connection, digests: Sequence[str]) -> dict[str, int]:
    """Return the sizes of the recorded ones of `digests`, and lock their records against deletion.

    The caller stores a reference to each file before the transaction ends.
    """
    query = (
        sa.select(artifacts.c.digest, artifacts.c.size)
        .where(artifacts.c.digest.in_(digests))
        .order_by(artifacts.c.digest)
        .with_for_update(read=True, key_share=True)
    )
    return {digest: size for digest, size in connection.execute(query)}
