"""Files of trials, addressed by their content: `<root>/ab/cdef...` holds the bytes whose SHA-256 is abcdef...

Names given by anybody never become paths. A file appears whole or not at all, and is on the disk before its digest is confirmed.
"""

import contextlib
import hashlib
import math
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from service.contents import refuse_pickled
from service.errors import TooLarge
from service.schemas import DIGEST_PATTERN
from sparsemod.errors import DigestMismatch, InvalidInput, NotFound

CHUNK = 1 << 20
_UPLOAD, _ASIDE = ".upload-", ".aside-"


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
        """Begin to receive the content of `digest`; use it in a `with` statement."""
        return Upload(self.path(digest), digest, self.limit)

    def store(self, content: bytes) -> str:
        """Store bytes; their digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with self.receive(digest) as upload:
            upload.write(content)
            upload.commit()
        return digest

    def remove(self, digests: Sequence[str], known: Callable[[Sequence[str]], set[str]]) -> int:
        """Delete the files of `digests`, except those that are `known` by then; how many there were.

        Somebody may be uploading the same content: so a file is put aside first, and comes back when its record is there. The other side
        makes the record first and then looks whether the file is there; one of the two sees what the other did.
        """
        aside = {}
        for digest in digests:
            place = self._aside()
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.path(digest), place)
                aside[digest] = place
        back = known(list(aside))
        for digest, place in aside.items():
            if digest in back:
                os.replace(place, self.path(digest))
            else:
                place.unlink(missing_ok=True)
        return len(aside) - len(back)

    def sweep(self, seconds: float, known: Callable[[Sequence[str]], set[str]]) -> int:
        """Delete what is older than `seconds` and not `known`: files without a record, uploads that broke off. How many there were."""
        limit = time.time() - seconds
        old = [path for path in self.root.glob("[0-9a-f][0-9a-f]/*") if _changed(path) < limit]
        unfinished = [path for path in old if path.name.startswith(_UPLOAD)]
        for path in [*unfinished, *(p for p in self.root.glob(f"{_ASIDE}*") if _changed(p) < limit)]:
            path.unlink(missing_ok=True)
        whole = [
            f"sha256:{path.parent.name}{path.name}"
            for path in old
            if re.fullmatch(r"[0-9a-f]{62}", path.name)
        ]
        return len(unfinished) + self.remove(sorted(set(whole) - known(whole)), known)

    def _aside(self) -> Path:
        return self.root / f"{_ASIDE}{secrets.token_hex(8)}"


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
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, self._temporary = tempfile.mkstemp(dir=path.parent, prefix=_UPLOAD)
        self._file = os.fdopen(handle, "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        Path(self._temporary).unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises TooLarge."""
        self.size += len(chunk)
        if self.size > self._limit:
            raise TooLarge(
                "body",
                f"more than {self._limit} bytes",
                f"artifacts of at most {self._limit} bytes (SPARSEMOD_MAX_ARTIFACT_BYTES)",
            )
        self._hash.update(chunk)
        self._file.write(chunk)

    def commit(self) -> None:
        """Check digest and content and put the file in its place. Raises DigestMismatch, InvalidInput for pickled data."""
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._expected:
            raise DigestMismatch("the uploaded content", self._expected, found)
        self._file.flush()
        refuse_pickled(Path(self._temporary))
        os.fsync(self._file.fileno())
        os.replace(self._temporary, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, must survive a power cut
        finally:
            os.close(folder)
