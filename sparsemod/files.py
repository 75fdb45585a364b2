"""Digests and pieces of files, and temporary folders that do not outlive their process for long."""

import contextlib
import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsemod.errors import InvalidInput

LOCK, WORK = "lock", "work"
"""In a scratch folder: a file that its process has locked while it lives, and the folder that is worked in."""


def digest_of(content: bytes | Path) -> str:
    """The digest of bytes or of a file. Raises InvalidInput for one that cannot be read."""
    if isinstance(content, bytes):
        return f"sha256:{hashlib.sha256(content).hexdigest()}"
    try:
        with content.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InvalidInput("path", str(content), f"a file that can be read ({error.strerror})") from error


def chunks(path: Path) -> Iterator[bytes]:
    """The content of a file, a piece at a time."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(1 << 20), b"")


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
