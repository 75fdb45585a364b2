"""The files of a local run."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsemod.errors import Conflict, InvalidInput
from sparsemod.files import write_atomically
from sparsemod.pipeline.journal import Finished, read_trials
from sparsemod.plugins import Names
from sparsemod.spec.experiment import ExperimentSpec


class RunFolder:
    """The files of a run in `folder`."""

    folder: Path

    def artifact(self, digest: str) -> Path:
        """Return the path of the artifact with this digest."""
        return self.folder / "artifacts" / digest.removeprefix("sha256:")

    @property
    def _spec_file(self) -> Path:
        return self.folder / "spec.json"

    @property
    def _journal(self) -> Path:
        return self.folder / "trials.jsonl"

    @property
    def _device_file(self) -> Path:
        return self.folder / "device.yaml"

    def _read_spec(self) -> ExperimentSpec:
        path = self._spec_file
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidInput(path.name, str(error), "the spec of a run, as JSON", str(path)) from error
        return ExperimentSpec.parse(content, str(path), Names.ANY)

    def _write_spec(self, spec: ExperimentSpec) -> None:
        write_atomically(self._spec_file, (json.dumps(spec.to_dict(), indent=1) + "\n").encode())

    def _read(self) -> list[Finished]:
        return read_trials(self._journal, mend=True)

    def _parts(self) -> list[Path]:
        """Return the journals of processes that share a study in this folder."""
        return sorted(self.folder.glob("trials-*.jsonl"))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the folder's lock, so that two runs never use the same trial index.

        The system releases the lock when the process dies. Raises Conflict when another run holds it.
        """
        with (self.folder / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(f"another run is at work in {self.folder}") from error
            yield
