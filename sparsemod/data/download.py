"""Fetching a dataset's files: with timeouts, checked by digest, put in place at once or not at all."""

import contextlib
import gzip
import hashlib
import http.client
import os
import tempfile
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

MIRROR_VARIABLE = "SPARSEMOD_DATA_MIRROR"
OFFLINE_VARIABLE = "SPARSEMOD_OFFLINE"
HALF_SECONDS = 3600.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch. `digest` is "md5:<hex>" or "sha256:<hex>" of its content, after unpacking when `unpacked` (a .gz file)."""

    name: str
    urls: tuple[str, ...]
    digest: str
    unpacked: bool = False


def fetch(dataset: str, files: Sequence[RemoteFile], place: Path, *, timeout: float = 10.0) -> list[Path]:
    """Bring `files` into the folder `place`; returns their paths. Files that are there already are left alone, unchecked.

    $SPARSEMOD_DATA_MIRROR (a base address holding `<dataset>/<file>`) is asked before a file's own addresses; with $SPARSEMOD_OFFLINE set to
    anything nothing is asked. `timeout` in seconds holds for each connection and each read.
    Raises DataMissing when no address gives a file (it says how to get it), DigestMismatch when what came is not that file (nothing is kept).
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
        place.mkdir(parents=True, exist_ok=True)  # only for something to put in
        forget_halves(place)
        _keep(url, answer, file, place)


def forget_halves(place: Path) -> None:
    """Remove downloads that broke off, as a kill leaves them: files that nobody has written to for HALF_SECONDS."""
    for half in place.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - half.stat().st_mtime > HALF_SECONDS:
                half.unlink()


def _keep(url: str, answer: Any, file: RemoteFile, place: Path) -> None:
    """Read `answer` into the folder, checked. Raises OSError, DigestMismatch."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=place)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            expected, received = answer.headers.get("Content-Length"), 0
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                out.write(chunk)
            if expected is not None and received != int(expected):
                raise OSError(f"the connection ended after {received} of {expected} bytes")
        found = digest_of(temporary, file.digest.partition(":")[0], unpacked=file.unpacked)
        if found != file.digest:
            raise DigestMismatch(f"{file.name} from {url}", file.digest, found)
        temporary.replace(place / file.name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def digest_of(path: Path, algorithm: str, *, unpacked: bool = False) -> str:
    """ "<algorithm>:<hex>" of a file's content, after gunzipping it when `unpacked`."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with gzip.open(path, "rb") if unpacked else path.open("rb") as content:
            while chunk := content.read(_CHUNK):
                state.update(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return f"not a gzip file ({error})"
    return f"{algorithm}:{state.hexdigest()}"


def _missing(dataset: str, files: Sequence[RemoteFile], place: Path, failures: Sequence[str]) -> DataMissing:
    sources = "; ".join(f"{file.name} from {' or '.join(file.urls) or 'its publisher'}" for file in files)
    reasons = "; ".join(failures) or "no address is known"
    hint = f"could not be downloaded ({reasons}). Put them there by hand ({sources}), or name the folder above it by dataset.root or $SPARSEMOD_DATA"
    return DataMissing(dataset, [file.name for file in files], str(place), hint)


__all__ = ["MIRROR_VARIABLE", "OFFLINE_VARIABLE", "RemoteFile", "digest_of", "fetch"]
