"""Content-addressed storage of trials' files: `<root>/ab/cdef...` holds the bytes whose SHA-256 is abcdef...

Names from requests never become paths. A file appears complete or not at all, and is on disk before the
upload is confirmed.
"""

import contextlib
import errno
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from service.errors import NoSpace, TooLarge
from service.files.upload_checks import refuse_pickled
from service.schemas.trials import DIGEST_PATTERN, ArtifactInfo
from sparsemod.errors import DigestMismatch, InvalidInput, NotFound
from sparsemod.files import NewFile, digest_of, sync_folder

if TYPE_CHECKING:
    from service.store import Store

CHUNK = 1 << 20
_UPLOAD = ".upload-"


class ArtifactFiles:
    """The folder of artifacts. A file may have up to `limit` bytes."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit

    def path(self, digest: str) -> Path:
        """Return the path for the content of `digest`, whether or not it exists.

        Raises InvalidInput for a malformed digest.
        """
        if re.fullmatch(DIGEST_PATTERN, digest) is None:
            raise InvalidInput(
                "digest", digest, 'a digest: "sha256:" and 64 hexadecimal digits in lower case'
            )
        name = digest.removeprefix("sha256:")
        return self.root / name[:2] / name[2:]

    def has(self, digest: str) -> bool:
        """Return whether the content is stored. Raises InvalidInput for a malformed digest."""
        return self.path(digest).is_file()

    def open(self, digest: str) -> Path:
        """Return the path of the stored content. Raises NotFound, InvalidInput for a malformed digest."""
        path = self.path(digest)
        if not path.is_file():
            raise NotFound("artifact", digest)
        return path

    def receive(self, digest: str) -> "Upload":
        """Start an upload of the content of `digest`, to use in a `with` statement. Raises NoSpace."""
        return Upload(self.path(digest), digest, self.limit)

    def add(self, content: bytes, store: "Store") -> ArtifactInfo:
        """Store `content` and record it in `store`. Raises the errors of `Upload`."""
        with self.receive(digest_of(content)) as upload:
            upload.write(content)
            return upload.commit(store)

    def remove(self, digest: str) -> None:
        """Delete a file.

        Do nothing when it is missing. Only the store may call this, because it locks the file's record.
        """
        self.path(digest).unlink(missing_ok=True)

    def old(self, seconds: float) -> list[str]:
        """Return the digests of files older than `seconds`. Delete interrupted uploads of that age."""
        limit = time.time() - seconds
        digests = []
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            if _changed(path) >= limit:
                continue
            if path.name.startswith(_UPLOAD):
                path.unlink(missing_ok=True)
            elif re.fullmatch(r"[0-9a-f]{62}", path.name):
                digests.append(f"sha256:{path.parent.name}{path.name}")
        return sorted(digests)


@contextlib.contextmanager
def needing_space(folder: Path) -> Iterator[None]:
    """Raise NoSpace when the disk is full or read-only."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise NoSpace(f"files cannot be stored in {folder}: {error.strerror}") from error


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # deleted by another server
        return math.inf


class Upload:
    """An upload in progress. Without a `commit` it leaves no file."""

    def __init__(self, path: Path, digest: str, limit: int) -> None:
        self._folder, self._expected, self._limit = path.parent, digest, limit
        with needing_space(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = NewFile(path, prefix=_UPLOAD, mode=0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    @property
    def size(self) -> int:
        """Return the number of bytes so far."""
        return self._file.size

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises TooLarge, NoSpace."""
        if self.size + len(chunk) > self._limit:
            raise TooLarge(
                "body",
                f"more than {self._limit} bytes",
                f"artifacts of at most {self._limit} bytes (SPARSEMOD_MAX_ARTIFACT_BYTES)",
            )
        with needing_space(self._folder):
            self._file.write(chunk)

    def commit(self, store: "Store") -> ArtifactInfo:
        """Check digest and content, move the file to its path and record it.

        Raises DigestMismatch, InvalidInput for pickled data, NoSpace.
        """
        digest = self._file.digest
        if digest != self._expected:
            raise DigestMismatch("the uploaded content", self._expected, digest)
        refuse_pickled(self._file.temporary)
        with needing_space(self._folder):
            self._file.sync()
        info = store.add_artifact(digest, self.size, self._file.place)
        sync_folder(self._folder)  # the directory entry must survive a power cut too
        return info
