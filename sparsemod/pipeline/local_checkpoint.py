"""The checkpoint of a local run's current trial, from which the run continues after an interruption."""

import time
from pathlib import Path

from sparsemod.files import fingerprint, write_atomically
from sparsemod.pipeline.reporter import Forwarding, Reporter
from sparsemod.sources.observation import Suggestion

SECONDS = 20.0
"""Least wall seconds of training between two writes: a trial that takes less has no checkpoint."""


class TrialCheckpoint:
    """The file of trial `index` in the folder of a run. Its name has a digest of the candidate, its epochs and its seed."""

    def __init__(self, folder: Path, index: int, suggestion: Suggestion, seed: int) -> None:
        self._folder, self._index = folder, index
        identity = f"{suggestion.candidate.model_dump_json()} {suggestion.epochs} {seed}"
        self._file = folder / f".checkpoint-{index}-{fingerprint(identity)[:16]}"

    def read(self) -> bytes | None:
        """Return the state of the interrupted trial, None without one."""
        return self._file.read_bytes() if self._file.is_file() else None

    def write(self, data: bytes) -> None:
        """Replace the file."""
        write_atomically(self._file, data)

    def remove(self) -> None:
        """Remove the checkpoints of this trial's number, half-written ones and those of other candidates included."""
        for pattern in (f".checkpoint-{self._index}-*", f"..checkpoint-{self._index}-*"):
            for file in self._folder.glob(pattern):
                file.unlink(missing_ok=True)


class Checkpointed(Forwarding):
    """A reporter that forwards to `reporter` and writes the checkpoints, at most one every SECONDS.

    `latest`: the last checkpoint, written or not.
    """

    def __init__(self, reporter: Reporter, checkpoint: TrialCheckpoint) -> None:
        super().__init__(reporter)
        self._checkpoint = checkpoint
        self._written = time.monotonic()
        self.latest: bytes | None = None

    def checkpoint(self, data: bytes) -> None:
        """See Reporter."""
        super().checkpoint(data)
        self.latest = data
        if time.monotonic() - self._written >= SECONDS:
            self._checkpoint.write(data)
            self._written = time.monotonic()
