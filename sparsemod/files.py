"""Digests and chunks of files, and temporary folders that are removed after their process ends."""

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
"""Names in a scratch folder: the file that its process keeps locked, and the folder with the content."""


def digest_of(content: bytes | Path) -> str:
    """Return "sha256:<hex>" of bytes or of a file. Raises InvalidInput for an unreadable file."""
    if isinstance(content, bytes):
        return f"sha256:{hashlib.sha256(content).hexdigest()}"
    try:
        with content.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InvalidInput("path", str(content), f"a file that can be read ({error.strerror})") from error


def chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in chunks of 1 MiB."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(1 << 20), b"")


@contextmanager
def scratch(prefix: str, parent: Path | str | None = None) -> Iterator[Path]:
    """Create an empty folder and remove it at the end.

    It lies inside a folder whose name begins with `prefix`, in `parent` (default: the system's temporary
    folder). Leftover folders with the same prefix whose process has ended are removed first. The caller may
    rename the folder to another place on the same disk.
    """
    outer = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        # Lock the file before renaming it, so that no other process sees it unlocked under its final name.
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
    """Remove the folders in `parent` whose name begins with `prefix` and whose process has ended."""
    for folder in parent.iterdir():
        if not folder.name.startswith(prefix):
            continue
        # OSError: already removed, still locked, or owned by another user.
        with contextlib.suppress(OSError), (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
