"""The journal of a local run, shortened to its first trials."""

import itertools
from pathlib import Path

from sparsemod.errors import InvalidInput
from sparsemod.files import write_atomically


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
