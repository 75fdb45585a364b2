"""What the database knows of stored files: digest and size. Their content lies in `service.artifacts`."""

import sqlalchemy as sa

from service.models import artifacts
from service.schemas import ArtifactInfo
from service.store.engine import Base
from service.store.trials import artifact_url
from sparsemod.errors import NotFound


class Files(Base):
    """The part of the store about files."""

    def add_artifact(self, digest: str, size: int) -> ArtifactInfo:
        """Record a file that has been stored. Recording it again changes nothing."""
        with self._write() as connection:
            values = {"digest": digest, "size": size, "created_at": self.clock()}
            connection.execute(self._insert(artifacts).values(**values).on_conflict_do_nothing())
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
