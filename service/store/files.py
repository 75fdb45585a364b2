"""What the database knows of stored files: digest and size. Their content lies in `service.files.artifacts`.

Several may store, use and delete the same content at once. So a file comes and goes only in a transaction that has locked its record: whoever
stores it waits for whoever deletes it, and the other way round.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import ArtifactInfo
from service.store.engine import Base
from service.store.tables import artifacts, trial_artifacts, trials
from service.store.trials import artifact_url
from sparsemod.errors import NotFound

STRAY_SECONDS = 86_400.0
"""How long a file may lie about to which nothing refers: longer than any trial takes from an upload to its report."""

_BATCH = 200

_REFERENCES = (trial_artifacts.c.digest, trials.c.checkpoint)


class Files(Base):
    """The part of the store about files."""

    def add_artifact(self, digest: str, size: int, place: Callable[[], object] | None = None) -> ArtifactInfo:
        """Record a file; `place` puts it where it belongs, while nobody can delete it. One that is there already stays for a while, see `drop`."""
        now = self.clock()
        add = self._insert(artifacts).values(digest=digest, size=size, created_at=now)
        add = add.on_conflict_do_update(index_elements=[artifacts.c.digest], set_={"asked_at": now})
        with self._write() as connection:
            connection.execute(add)
            if place is not None:
                place()
        return ArtifactInfo(digest=digest, size=size, url=artifact_url(digest))

    def artifact(self, digest: str) -> ArtifactInfo:
        """Raises NotFound."""
        with self._read() as connection:
            size = connection.execute(
                sa.select(artifacts.c.size).where(artifacts.c.digest == digest)
            ).scalar()
        if size is None:
            raise NotFound("artifact", digest)
        return ArtifactInfo(digest=digest, size=size, url=artifact_url(digest))

    def ask_artifact(self, digest: str) -> ArtifactInfo:
        """The same for somebody who will refer to the file without storing it again: it stays for a while, see `drop`. Raises NotFound."""
        info = self.artifact(digest)  # most are not there, and then no write lock is taken
        with self._write() as connection:
            asked = sa.update(artifacts).where(artifacts.c.digest == digest)
            if not connection.execute(asked.values(asked_at=self.clock())).rowcount:
                raise NotFound("artifact", digest)
        return info

    def known_artifacts(self, digests: Sequence[str]) -> set[str]:
        """Those of `digests` that are recorded."""
        found: set[str] = set()
        with self._read() as connection:
            for start in range(0, len(digests), 500):
                query = sa.select(artifacts.c.digest).where(
                    artifacts.c.digest.in_(digests[start : start + 500])
                )
                found.update(connection.execute(query).scalars())
        return found

    def drop(self, digests: Sequence[str], remove: Callable[[str], object]) -> int:
        """Delete those files of `digests` to which nothing refers: `remove` the content, then forget the record. How many there were.

        One that somebody was told is there already, and may be about to refer to, stays for STRAY_SECONDS.
        """
        limit = self.clock() - STRAY_SECONDS
        return self._drop(
            digests, remove, sa.or_(artifacts.c.asked_at.is_(None), artifacts.c.asked_at < limit)
        )

    def drop_strays(self, seconds: float, remove: Callable[[str], object]) -> int:
        """The same for all files that are older than `seconds`, and that nobody has asked for since.

        They come from uploads whose worker died before its report, from checkpoints and exports with a newer one, and from deletions that
        broke off.
        """
        old = sa.func.coalesce(artifacts.c.asked_at, artifacts.c.created_at) < self.clock() - seconds
        unused = [
            artifacts.c.digest.not_in(sa.select(column).where(column.is_not(None))) for column in _REFERENCES
        ]
        with self._read() as connection:
            found = list(connection.execute(sa.select(artifacts.c.digest).where(old, *unused)).scalars())
        return self._drop(found, remove, old)

    def drop_unrecorded(self, digests: Sequence[str], remove: Callable[[str], object]) -> int:
        """Delete files that have no record, as a server leaves them that was killed while it stored them. How many there were."""
        count = 0
        for digest in digests:
            # The record is made to be locked: nobody else sees it, and who wants to make it waits.
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
                held = set(connection.execute(lock.with_for_update()).scalars())
                for column in _REFERENCES:
                    used = sa.select(column).where(column.in_(sorted(held)))
                    held.difference_update(connection.execute(used).scalars())
                # The content first: should the rest fail, the next upload makes good a record without content.
                for digest in sorted(held):
                    remove(digest)
                connection.execute(sa.delete(artifacts).where(artifacts.c.digest.in_(sorted(held))))
                count += len(held)
        return count


def hold(connection: sa.Connection, digests: Sequence[str]) -> dict[str, int]:
    """The sizes of those of `digests` that are recorded; they stay until the transaction's end, by when something refers to them."""
    query = (
        sa.select(artifacts.c.digest, artifacts.c.size)
        .where(artifacts.c.digest.in_(digests))
        .order_by(artifacts.c.digest)
        .with_for_update(read=True, key_share=True)
    )
    return {digest: size for digest, size in connection.execute(query)}
