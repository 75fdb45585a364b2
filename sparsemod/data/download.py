"""Download a dataset's files with timeouts and digest checks; a file appears complete or not at all."""

import contextlib
import gzip
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemod.errors import DataMissing, DigestMismatch
from sparsemod.files import NewFile, pieces_of, stream_digest

MIRROR_VARIABLE = "SPARSEMOD_DATA_MIRROR"
OFFLINE_VARIABLE = "SPARSEMOD_OFFLINE"
PARTIAL = ".part"
"""End of the names of files that are being written."""

PARTIAL_SECONDS = 3600.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    `digest` is "md5:<hex>" or "sha256:<hex>" of its content; with `unpacked`, of the gunzipped content.
    """

    name: str
    urls: tuple[str, ...]
    digest: str
    unpacked: bool = False


def fetch(dataset: str, files: Sequence[RemoteFile], place: Path, *, timeout: float = 10.0) -> list[Path]:
    """Download `files` into the folder `place`; return their paths. Existing files are kept unchecked.

    Tries $SPARSEMOD_DATA_MIRROR (a base URL that holds `<dataset>/<file>`) before a file's own URLs.
    Downloads nothing if $SPARSEMOD_OFFLINE is set to any non-empty value. `timeout`, in seconds, applies to
    each connection and each read.
    Raises DataMissing, which says how to get the file, when all URLs fail; DigestMismatch when the content is
    wrong (nothing is kept).
    """
    missing = [file for file in files if not (place / file.name).is_file()]
    if missing and os.environ.get(OFFLINE_VARIABLE):
        raise _missing(dataset, missing, place, [f"downloads are off (${OFFLINE_VARIABLE})"])
    for number, file in enumerate(missing):
        failures: list[str] = []
        for url in _addresses(dataset, file):
            try:
                _fetch_one(url, file, place, timeout)
                break
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{url}: {error}")
        else:
            raise _missing(dataset, missing[number:], place, failures)
    return [place / file.name for file in files]


def _addresses(dataset: str, file: RemoteFile) -> list[str]:
    mirror = os.environ.get(MIRROR_VARIABLE)
    own = [f"{mirror.rstrip('/')}/{dataset}/{urllib.parse.quote(file.name)}"] if mirror else []
    return [*own, *file.urls]


def _fetch_one(url: str, file: RemoteFile, place: Path, timeout: float) -> None:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        place.mkdir(parents=True, exist_ok=True)  # only after the server has answered
        remove_partial_downloads(place)
        _keep(url, answer, file, place)


def remove_partial_downloads(place: Path) -> None:
    """Remove partial files of interrupted downloads: those not written to for PARTIAL_SECONDS."""
    for partial in place.glob(f".*{PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > PARTIAL_SECONDS:
                partial.unlink()


def _keep(url: str, answer: Any, file: RemoteFile, place: Path) -> None:
    """Write `answer` to a file in the folder and check its digest. Raises OSError, DigestMismatch."""
    algorithm = file.digest.partition(":")[0]
    with NewFile(place / file.name, suffix=PARTIAL, algorithm=algorithm) as out:
        expected = answer.headers.get("Content-Length")
        while chunk := answer.read(_CHUNK):
            out.write(chunk)
        if expected is not None and out.size != int(expected):
            raise OSError(f"the connection ended after {out.size} of {expected} bytes")
        digest = _unpacked_digest(out.temporary, algorithm) if file.unpacked else out.digest
        if digest != file.digest:
            raise DigestMismatch(f"{file.name} from {url}", file.digest, digest)
        out.place()


def _unpacked_digest(path: Path, algorithm: str) -> str:
    """Return "<algorithm>:<hex>" of a file's gunzipped content."""
    try:
        with gzip.open(path, "rb") as content:
            return stream_digest(pieces_of(content), algorithm)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return f"not a gzip file ({error})"


def _missing(dataset: str, files: Sequence[RemoteFile], place: Path, failures: Sequence[str]) -> DataMissing:
    sources = "; ".join(f"{file.name} from {' or '.join(file.urls) or 'its publisher'}" for file in files)
    reasons = "; ".join(failures) or "no address is known"
    hint = (
        f"could not be downloaded ({reasons}). Copy them to this folder ({sources}), or set dataset.root or "
        "$SPARSEMOD_DATA to the folder that contains it"
    )
    return DataMissing(dataset, [file.name for file in files], str(place), hint)


__all__ = ["MIRROR_VARIABLE", "OFFLINE_VARIABLE", "RemoteFile", "fetch"]
