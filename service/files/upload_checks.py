"""Checks of uploads. Only data are accepted: loading a pickle can run any code, so pickles are refused."""

import io
import json
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.records import Artifact

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Pattern of download names. They never become paths on the server, and must be safe on the client too."""

_HEADER_LIMIT = 8 * 1024**2
_MEMBERS_LIMIT = 10_000
_LIST_LIMIT = 200 * _MEMBERS_LIMIT
"""Size limit in bytes of an archive's list of members, which is read as a whole."""
_UNPACKED_LIMIT = 20
"""Maximum ratio of unpacked to packed size. Plain arrays hardly compress."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, OSError, EOFError, RuntimeError)
"""Exceptions that reading a damaged archive may raise."""
_ARRAY_HEADER = 70_000
"""Number of bytes that contain the header of any array."""
_END = struct.Struct("<4s4H2LH")
_WEIGHTS = "a safetensors file: weights must be plain tensors, never pickled"
_PLAIN = "data that can be read without running code; weights as safetensors, arrays as a plain .npz"
_NETWORK = "an .npz archive of plain arrays and its header.json"


def refuse_pickled(path: Path) -> None:
    """Raise InvalidInput when a file or an archive's member is a pickle (protocol 2 to 5) or an object array.

    The content decides; archives with a member named *.pkl or *.pickle are refused too. Pickles of protocols
    0 and 1 look like text and are not detected here. `check_artifact` refuses them as weights or as a
    network.
    """
    with path.open("rb") as file:
        start = file.read(3)
    if _begins_pickle(start):
        raise InvalidInput("body", "pickled data", _PLAIN)
    if start[:2] == b"PK" and zipfile.is_zipfile(path):
        _check_list(path, "body")
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()[: _MEMBERS_LIMIT + 1]
                objects = next((name for name in names if _runs_code(archive, name)), None)
        except _DAMAGE as error:  # another program might still unpack something from it
            raise InvalidInput("body", "a damaged archive", "an intact archive") from error
        pickled = next((name for name in names if name.endswith((".pkl", ".pickle"))), objects)
        if pickled is not None:
            raise InvalidInput("body", f"an archive with pickled data in {pickled[:80]}", _PLAIN)
    if start == b"\x93NU":
        with path.open("rb") as file:
            if _certainly_objects(file):
                raise InvalidInput("body", "an array of pickled objects", _PLAIN)


def _begins_pickle(start: bytes) -> bool:
    # Zero is no pickle opcode, but a safetensors file with a header of 640 bytes begins with 0x80 0x02 0x00.
    return len(start) >= 3 and start[0] == 0x80 and 2 <= start[1] <= 5 and start[2] != 0


def _runs_code(archive: zipfile.ZipFile, name: str) -> bool:
    """Return whether the member is a pickle or an array of objects, whatever its name."""
    try:
        with archive.open(name) as file:
            start = file.read(_ARRAY_HEADER)
    except _DAMAGE:
        if name.endswith(".npy"):
            raise
        return False  # no archive reader can extract it
    return _begins_pickle(start) or (
        start.startswith(np.lib.format.MAGIC_PREFIX) and _certainly_objects(io.BytesIO(start))
    )


def _certainly_objects(file: IO[bytes]) -> bool:
    try:
        return _holds_objects(file)
    except ValueError:
        return False  # numpy reads no objects from it


def _holds_objects(file: IO[bytes]) -> bool:
    """Return whether numpy would unpickle the data after this array header.

    Raises ValueError when there is no header.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return bool(read(file)[2].hasobject)


def _check_list(path: Path, field: str) -> None:
    """Raise InvalidInput for an archive whose list of members would fill the memory when it is opened."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END.size - 0xFFFF))
        tail = file.read()
    # Find the end record like zipfile: at the end of the file, or before a comment.
    plain = tail[-_END.size :]
    place = (
        len(tail) - _END.size if plain[:4] == b"PK\5\6" and plain[-2:] == b"\0\0" else tail.rfind(b"PK\5\6")
    )
    if place < 0 or len(tail) - place < _END.size:
        return  # no archive
    listed = _END.unpack_from(tail, place)[5]
    # A ZIP64 locator precedes it when there are more than 65535 members or gigabytes of data. torch.save
    # always writes one.
    if tail[max(0, place - 20) : place].startswith(b"PK\6\7"):
        raise InvalidInput(field, "an archive in the format ZIP64, as torch.save writes it", _PLAIN)
    if listed > _LIST_LIMIT:
        raise InvalidInput(
            field, "an archive with a very long list of members", f"at most {_MEMBERS_LIMIT} members"
        )


def check_artifact(artifact: Artifact, path: Path, field: str) -> None:
    """Check that the file at `path` matches the artifact's kind and that the name is no path.

    Raises InvalidInput.
    """
    if re.fullmatch(NAME, artifact.name) is None:
        raise InvalidInput(f"{field}.name", artifact.name, "letters, digits and . _ -, at most 100, no path")
    if not path.is_file():
        return  # the store reports files that were not uploaded
    if artifact.kind == "weights":
        check_safetensors(path, f"{field}.digest")
    elif artifact.kind == "network":
        check_arrays(path, f"{field}.digest")


def check_safetensors(path: Path, field: str) -> None:
    """Check a safetensors header: every tensor needs a type, a shape and offsets within the file.

    Raises InvalidInput.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= size - 8:
            raise InvalidInput(field, "a file without a safetensors header", _WEIGHTS)
        if length > _HEADER_LIMIT:
            raise InvalidInput(
                field, f"a safetensors header of {length} bytes", f"at most {_HEADER_LIMIT} bytes"
            )
        text = file.read(length)
    try:
        header = json.loads(text)
        tensors = [item for name, item in header.items() if name != "__metadata__"]
        places = [item["data_offsets"] for item in tensors]
        good = all(
            isinstance(item["dtype"], str) and isinstance(item["shape"], list) for item in tensors
        ) and all(0 <= begin <= end <= size - 8 - length for begin, end in places)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        good = False
    if not good:
        raise InvalidInput(field, "a file with a broken safetensors header", _WEIGHTS)


def check_arrays(path: Path, field: str) -> None:
    """Check that every member of an .npz archive is an array of numbers or JSON. Raises InvalidInput."""
    try:
        _check_list(path, field)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS_LIMIT:
                raise InvalidInput(field, f"{len(members)} members", f"at most {_MEMBERS_LIMIT}")
            size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
            if unpacked > _UNPACKED_LIMIT * size:
                raise InvalidInput(
                    field,
                    f"{size} bytes that unpack to {unpacked}",
                    f"at most {_UNPACKED_LIMIT} times its size",
                )
            for member in members:
                if member.filename.endswith(".json"):
                    continue
                if not member.filename.endswith(".npy"):
                    raise InvalidInput(field, f"an archive with {member.filename[:80]}", _NETWORK)
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InvalidInput(field, f"{member.filename[:80]} is compressed unusually", _NETWORK)
                with archive.open(member) as file:
                    start = io.BytesIO(file.read(_ARRAY_HEADER))
                if _holds_objects(start):
                    raise InvalidInput(field, f"{member.filename[:80]} holds pickled objects", _NETWORK)
    except _DAMAGE as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(field, "a file that is not such an archive", _NETWORK) from error
