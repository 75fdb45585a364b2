"""What is uploaded: digests and pieces of files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sparsemod.errors import InvalidInput


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
