"""Digests, atomic writes, and temporary folders that are removed after their process ends.

No other module computes digests or replaces files itself.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sparsemod.errors import InvalidInput

LOCK, WORK = "lock", "work"
"""Names in a scratch folder: the file that its process keeps locked, and the folder with the content."""


class Hasher:
    """Computes the digest of content that arrives in pieces. `algorithm`: a name that hashlib knows."""

    def __init__(self, algorithm: str = "sha256") -> None:
        self._algorithm = algorithm
        self._state = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        """Add bytes."""
        self._state.update(chunk)

    @property
    def digest(self) -> str:
        """Return "<algorithm>:<hex>" of the bytes so far."""
        return f"{self._algorithm}:{self._state.hexdigest()}"


def digest_of(content: bytes | Path) -> str:
    """Return "sha256:<hex>" of bytes or of a file. Raises InvalidInput for an unreadable file."""
    if isinstance(content, bytes):
        return stream_digest([content])
    try:
        return stream_digest(chunks(content))
    except OSError as error:
        raise InvalidInput("path", str(content), f"a file that can be read ({error.strerror})") from error


def stream_digest(pieces: Iterable[bytes], algorithm: str = "sha256") -> str:
    """Return "<algorithm>:<hex>" of the concatenated pieces."""
    hasher = Hasher(algorithm)
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest


def fingerprint(content: str | bytes) -> str:
    """Return the SHA-256 of text (as UTF-8) or bytes as 64 hexadecimal digits, for keys, seeds and versions."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in chunks of 1 MiB."""
    with path.open("rb") as file:
        yield from pieces_of(file)


def pieces_of(stream: IO[bytes] | BufferedIOBase) -> Iterator[bytes]:
    """Yield the content of a stream in chunks of 1 MiB."""
    yield from iter(lambda: stream.read(1 << 20), b"")


class NewFile:
    """A file in the making, to use in a `with` statement: it appears at `path` complete, or not at all.

    The content is written to a temporary file in the same folder, whose name is `prefix` (default: `path`'s
    name after a dot), a random part and `suffix`. `place` moves it to `path`, where it replaces an earlier
    file. Without `place` the temporary file is removed at the end. `digest` and `size` describe the content
    so far. `mode`: the permissions of the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        prefix: str | None = None,
        suffix: str = "",
        mode: int = 0o644,
        algorithm: str = "sha256",
    ) -> None:
        self.path, self.size = path, 0
        prefix = f".{path.name}." if prefix is None else prefix
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=suffix)
        self.temporary = Path(name)
        self._file = os.fdopen(handle, "wb", buffering=0)  # write itself fails on a full disk
        self._hasher = Hasher(algorithm)
        os.fchmod(handle, mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.temporary.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """Return "<algorithm>:<hex>" of the content so far."""
        return self._hasher.digest

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises OSError."""
        self._hasher.update(chunk)
        self.size += len(chunk)
        _write_all(self._file, chunk)

    def sync(self) -> None:
        """Wait until the content is on disk. Raises OSError."""
        os.fsync(self._file.fileno())

    def place(self) -> None:
        """Move the file to its path. Raises OSError."""
        os.replace(self.temporary, self.path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically, so that a reader never sees a partial file."""
    with NewFile(path) as file:
        file.write(content)
        file.place()


def append_durably(path: Path, content: bytes) -> None:
    """Append `content` and wait until it is on disk. After an OSError the file has its earlier content."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            _write_all(file, content)
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, size)
            raise


def sync_folder(folder: Path) -> None:
    """Wait until the folder's list of files is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(source: Path, target: Path) -> None:
    """Move a file or folder on one disk atomically. A file replaces an earlier `target`, a folder an empty one.

    Raises OSError.
    """
    os.replace(source, target)


def move_durably(source: Path, target: Path) -> None:
    """Move a file as `move` does, and wait until its content and its new name are on disk. Raises OSError."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    move(source, target)
    sync_folder(target.parent)


def _write_all(file: IO[bytes], content: bytes) -> None:
    """Write `content` to an unbuffered file, which may take a part of it only."""
    while content:
        content = content[file.write(content) :]


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
            move(outer / "unlocked", outer / LOCK)
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
