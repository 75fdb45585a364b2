"""Temporary folders that do not outlive their process for long: what a killed one has left, the next one of the same kind removes."""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK, WORK = "lock", "work"
"""In the folder: a file that its process has locked while it lives, and the folder that is worked in."""


@contextmanager
def scratch(prefix: str, parent: Path | str | None = None) -> Iterator[Path]:
    """An empty folder, removed at the end. It lies in one whose name begins with `prefix`, in `parent` (default: the system's place for such).

    Folders of the same prefix whose process is gone are removed first. The folder may be renamed to another place of the same disk.
    """
    outer = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        # Locked before it has its name: whoever sees the name finds it locked.
        with (outer / "unlocked").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (outer / "unlocked").rename(outer / LOCK)
            sweep(prefix, outer.parent)
            work = outer / WORK
            work.mkdir()
            yield work
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def sweep(prefix: str, parent: Path) -> None:
    """Remove the folders in `parent` whose name begins with `prefix` and whose process is gone."""
    for other in parent.iterdir():
        if not other.name.startswith(prefix):
            continue
        with contextlib.suppress(OSError), (other / LOCK).open("rb") as left:  # gone, held, or another user's
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
