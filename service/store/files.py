"""What the database knows of stored files: digest and size. Their content lies in `service.artifacts`."""

from collections.abc import Sequence

import sqlalchemy as sa

from service.models import artifacts, trial_artifacts, trials
from service.schemas import ArtifactInfo
from service.store.engine import Base
from service.store.trials import artifact_url
from sparsemod.errors import NotFound


class Files(Base):
    """The part of the store about files."""

    def add_artifact(self, digest: str, size: int) -> ArtifactInfo:
        """Record a file that has been stored. Recording it again makes it as young as a new one."""
        now = self.clock()
        with self._write() as connection:
            add = self._insert(artifacts).values(digest=digest, size=size, created_at=now)
            connection.execute(
                add.on_conflict_do_update(index_elements=[artifacts.c.digest], set_={"created_at": now})
            )
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

    def forget_strays(self, seconds: float) -> int:
        """Drop the records of files that nothing refers to and that are older than `seconds`; how many there were.

        They come from uploads whose worker died before its report, and from checkpoints with a newer one.
        """
        with self._write() as connection:
            strays = sa.delete(artifacts).where(
                artifacts.c.created_at < self.clock() - seconds,
                ~sa.exists().where(trial_artifacts.c.digest == artifacts.c.digest),
                ~sa.exists().where(trials.c.checkpoint == artifacts.c.digest),
            )
            return connection.execute(strays).rowcount

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
