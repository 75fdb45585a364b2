"""The journal of a local run: a line for each finished trial."""

import itertools
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from sparsemod.errors import InvalidInput, plain_message
from sparsemod.files import write_atomically
from sparsemod.records import Candidate, Record, StopDecision, TrialRecord, TrialResult
from sparsemod.sources.observation import Observation


class Finished(Record):
    """A finished trial: one line of trials.jsonl. `stopping`: why the stopping rule ended it."""

    index: int
    candidate: Candidate
    planned_epochs: int
    seed: int
    result: TrialResult
    stopping: StopDecision | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_wall_time(cls, line: Any) -> Any:
        """Drop the wall time that earlier versions wrote beside the seconds of the stages."""
        return {key: line[key] for key in line if key != "seconds"} if isinstance(line, dict) else line

    @property
    def record(self) -> TrialRecord:
        """The trial as reports show it."""
        r = self.result
        return TrialRecord(
            index=self.index, state=r.state, candidate=self.candidate, epochs=self.planned_epochs, seed=self.seed, trained_epochs=r.epochs,
            measurements=r.measurements, seconds=r.seconds, notes=r.notes, failure=r.failure, artifacts=r.artifacts,
            stopping=self.stopping,
        )  # fmt: skip

    @property
    def failure_text(self) -> str:
        """A failed trial's traceback, then its error and parameters in one line; "" for a trial without failure."""
        failure = self.result.failure
        if failure is None:
            return ""
        line = f"trial {self.index}: {failure.message} with {self.candidate.parameters}"
        return f"{failure.detail.rstrip()}\n{line}".lstrip()

    def observation(self) -> Observation:
        """Return the trial as an observation of the candidate source."""
        return Observation.of(self.record)


def read_trials(journal: Path, *, mend: bool) -> list[Finished]:
    """Return the finished trials in a journal, none if there is no such file.

    A last line without its end is left out: the process was killed during this write, and the trial runs again. With
    `mend` it is also removed from the file. Raises InvalidInput for damaged lines.
    """
    if not journal.exists():
        return []
    lines = journal.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        if mend:
            write_atomically(journal, "".join(lines).encode())
    trials = []
    for number, line in enumerate(lines, 1):
        try:
            trials.append(Finished.model_validate_json(line))
        except ValidationError as error:
            raise InvalidInput(
                "trial",
                line,
                f"a finished trial as this version writes it; {plain_message(error.errors()[0]['msg'])}",
                f"{journal}:{number}",
            ) from error
    return trials


def keep_trials(journal: Path, count: int) -> Path | None:
    """Keep the first `count` lines of a journal; return the file with the journal as it was.

    That file is beside it: trials.1.jsonl, trials.2.jsonl, ... Returns None when there is nothing to drop. The caller
    holds the folder's lock. Raises InvalidInput for a count that the journal does not have.
    """
    content = journal.read_bytes() if journal.exists() else b""
    lines = content.splitlines(keepends=True)
    if not 0 <= count <= len(lines):
        raise InvalidInput("keep", count, f"0 to {len(lines)}, the number of finished trials")
    if count == len(lines):
        return None
    names = (journal.with_name(f"{journal.stem}.{number}{journal.suffix}") for number in itertools.count(1))
    old = next(name for name in names if not name.exists())
    write_atomically(old, content)
    write_atomically(journal, b"".join(lines[:count]))
    return old
