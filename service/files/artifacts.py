"""Files of trials, addressed by their content: `<root>/ab/cdef...` holds the bytes whose SHA-256 is abcdef...

Names given by anybody never become paths. A file appears whole or not at all, and is on the disk before its digest is confirmed.
"""

import contextlib
import errno
import hashlib
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from service.errors import NoSpace, TooLarge
from service.files.upload_checks import refuse_pickled
from service.schemas.trials import DIGEST_PATTERN, ArtifactInfo
from sparsemod.errors import DigestMismatch, InvalidInput, NotFound

if TYPE_CHECKING:
    from service.store import Store

CHUNK = 1 << 20
_UPLOAD = ".upload-"


class ArtifactFiles:
    """The folder of artifacts; files up to `limit` bytes."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit

    def path(self, digest: str) -> Path:
        """Where the content of `digest` lies, or would lie. Raises InvalidInput for something that is no digest."""
        if re.fullmatch(DIGEST_PATTERN, digest) is None:
            raise InvalidInput(
                "digest", digest, 'a digest: "sha256:" and 64 hexadecimal digits in lower case'
            )
        name = digest.removeprefix("sha256:")
        return self.root / name[:2] / name[2:]

    def has(self, digest: str) -> bool:
        """Whether the content is there."""
        return self.path(digest).is_file()

    def open(self, digest: str) -> Path:
        """The file with this content. Raises NotFound."""
        path = self.path(digest)
        if not path.is_file():
            raise NotFound("artifact", digest)
        return path

    def receive(self, digest: str) -> "Upload":
        """Begin to receive the content of `digest`; use it in a `with` statement. Raises NoSpace."""
        return Upload(self.path(digest), digest, self.limit)

    def add(self, content: bytes, store: "Store") -> ArtifactInfo:
        """Store and record bytes."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with self.receive(digest) as upload:
            upload.write(content)
            return upload.commit(store)

    def remove(self, digest: str) -> None:
        """Delete a file; nothing happens when it is not there. Only for the store, which knows that nobody is just putting it there."""
        self.path(digest).unlink(missing_ok=True)

    def old(self, seconds: float) -> list[str]:
        """The digests of files that are older than `seconds`; uploads that broke off so long ago are deleted."""
        limit = time.time() - seconds
        found = []
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            if _changed(path) >= limit:
                continue
            if path.name.startswith(_UPLOAD):
                path.unlink(missing_ok=True)
            elif re.fullmatch(r"[0-9a-f]{62}", path.name):
                found.append(f"sha256:{path.parent.name}{path.name}")
        return sorted(found)


@contextlib.contextmanager
def needing_space(folder: Path) -> Iterator[None]:
    """A full or read-only disk as NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise NoSpace(f"files cannot be stored in {folder}: {error.strerror}") from error


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another server was quicker
        return math.inf


class Upload:
    """A file that is on its way. Without a `commit`, nothing of it stays."""

    def __init__(self, path: Path, digest: str, limit: int) -> None:
        self._path, self._expected, self._limit = path, digest, limit
        self._hash = hashlib.sha256()
        self.size = 0
        with needing_space(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, self._temporary = tempfile.mkstemp(dir=path.parent, prefix=_UPLOAD)
        self._file = os.fdopen(handle, "wb", buffering=0)  # what does not fit is told by the write itself

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        Path(self._temporary).unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises TooLarge, NoSpace."""
        self.size += len(chunk)
        if self.size > self._limit:
            raise TooLarge(
                "body",
                f"more than {self._limit} bytes",
                f"artifacts of at most {self._limit} bytes (SPARSEMOD_MAX_ARTIFACT_BYTES)",
            )
        self._hash.update(chunk)
        with needing_space(self._path.parent):
            while chunk:
                chunk = chunk[self._file.write(chunk) :]

    def commit(self, store: "Store") -> ArtifactInfo:
        """Check digest and content, put the file in its place and record it. Raises DigestMismatch, InvalidInput for pickled data, NoSpace."""
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._expected:
            raise DigestMismatch("the uploaded content", self._expected, found)
        refuse_pickled(Path(self._temporary))
        with needing_space(self._path.parent):
            os.fsync(self._file.fileno())
        info = store.add_artifact(found, self.size, self._place)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, must survive a power cut
        finally:
            os.close(folder)
        return info

    def _place(self) -> None:
        os.replace(self._temporary, self._path)
