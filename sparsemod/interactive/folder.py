"""The folder of a local run as a source of results."""

from pathlib import Path

from sparsemod.errors import DigestMismatch, NotFound
from sparsemod.files import NewFile, chunks
from sparsemod.pipeline.local_run import LocalFolder
from sparsemod.records import Artifact
from sparsemod.report.result_source import StoredResults


class FolderSource:
    """A ResultSource. Raises NotFound for a folder without a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = LocalFolder(folder)

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    def read(self) -> StoredResults:
        """See ResultSource. Raises InvalidInput for damaged files."""
        self._held = LocalFolder(self.folder)
        spec = self._held.spec
        return StoredResults(
            spec, spec.objectives_in_force(), tuple(trial.record for trial in self._held.trials)
        )

    def copy(self, artifact: Artifact, path: Path) -> Path:
        """See ResultSource."""
        stored = self._held.artifact(artifact.digest)
        if not stored.is_file():
            raise NotFound("artifact", artifact.digest, str(self.folder))
        with NewFile(path) as copied:
            for chunk in chunks(stored):
                copied.write(chunk)
            if copied.digest != artifact.digest:
                raise DigestMismatch(str(stored), artifact.digest, copied.digest)
            copied.place()
        return path
