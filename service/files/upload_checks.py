"""What may be uploaded: data, never code. Pickled objects run whatever they like when they are loaded, so none are taken."""

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
"""Names under which files are downloaded. They become no paths here; they should do no harm elsewhere either."""

_HEADER_LIMIT = 8 * 1024**2
_MEMBERS_LIMIT = 10_000
_LIST_LIMIT = 200 * _MEMBERS_LIMIT
"""Bytes of an archive's list of members, which is read whole."""
_UNPACKED_LIMIT = 20
"""How many times larger than its archive the content may be; plain arrays hardly shrink at all."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, OSError, EOFError, RuntimeError)
"""What reading a damaged archive may raise."""
_ARRAY_HEADER = 70_000
"""Bytes that hold the header of any array."""
_END = struct.Struct("<4s4H2LH")
_WEIGHTS = "a safetensors file: weights are taken as plain tensors, never pickled"
_PLAIN = "data that can be read without running it; weights as safetensors, arrays as a plain .npz"
_NETWORK = "an .npz archive of plain arrays and its header.json"


def refuse_pickled(path: Path) -> None:
    """Refuse a file that is, or an archive with a member that is, a pickle of protocol 2 to 5 or an array of objects. Raises InvalidInput.

    Judged by content; in archives a member's name ending in .pkl or .pickle is enough. Pickles of protocols 0 and 1 are text and cannot be
    told from other text: as weights or a network `check_artifact` refuses them.
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
        except _DAMAGE as error:  # some program might still find something to unpack in it
            raise InvalidInput("body", "a damaged archive", "a whole one") from error
        pickled = next((name for name in names if name.endswith((".pkl", ".pickle"))), objects)
        if pickled is not None:
            raise InvalidInput("body", f"an archive with pickled data in {pickled[:80]}", _PLAIN)
    if start == b"\x93NU":
        with path.open("rb") as file:
            if _certainly_objects(file):
                raise InvalidInput("body", "an array of pickled objects", _PLAIN)


def _begins_pickle(start: bytes) -> bool:
    # A zero is no instruction of a pickle, but a safetensors header of, say, 640 bytes begins with 0x80 0x02 0x00.
    return len(start) >= 3 and start[0] == 0x80 and 2 <= start[1] <= 5 and start[2] != 0


def _runs_code(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether the member is a pickle or an array of objects, whatever its name."""
    try:
        with archive.open(name) as file:
            start = file.read(_ARRAY_HEADER)
    except _DAMAGE:
        if name.endswith(".npy"):
            raise
        return False  # no program that reads archives finds anything in it
    return _begins_pickle(start) or (
        start.startswith(np.lib.format.MAGIC_PREFIX) and _certainly_objects(io.BytesIO(start))
    )


def _certainly_objects(file: IO[bytes]) -> bool:
    try:
        return _holds_objects(file)
    except ValueError:
        return False  # whatever it is, numpy reads no objects from it


def _holds_objects(file: IO[bytes]) -> bool:
    """Whether numpy would have to unpickle what follows this header of an array. Raises ValueError where there is none."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return bool(read(file)[2].hasobject)


def _check_list(path: Path, field: str) -> None:
    """Refuse an archive whose list of members would fill the memory of who only opens it. Raises InvalidInput."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END.size - 0xFFFF))
        tail = file.read()
    # Where zipfile finds the end of the list: right at the end of the file, or before a comment.
    plain = tail[-_END.size :]
    place = (
        len(tail) - _END.size if plain[:4] == b"PK\5\6" and plain[-2:] == b"\0\0" else tail.rfind(b"PK\5\6")
    )
    if place < 0 or len(tail) - place < _END.size:
        return  # no archive
    listed = _END.unpack_from(tail, place)[5]
    # Before it, the sign of the larger format: for more than 65535 members, or for gigabytes. torch.save writes it always.
    if tail[max(0, place - 20) : place].startswith(b"PK\6\7"):
        raise InvalidInput(field, "an archive in the format ZIP64, as torch.save writes it", _PLAIN)
    if listed > _LIST_LIMIT:
        raise InvalidInput(
            field, "an archive with a very long list of members", f"at most {_MEMBERS_LIMIT} members"
        )


def check_artifact(artifact: Artifact, path: Path, field: str) -> None:
    """Whether the file at `path` can be what a result says it is, and has a name that is only a name. Raises InvalidInput."""
    if re.fullmatch(NAME, artifact.name) is None:
        raise InvalidInput(f"{field}.name", artifact.name, "letters, digits and . _ -, at most 100, no path")
    if not path.is_file():
        return  # that it was never uploaded is said where it is known
    if artifact.kind == "weights":
        check_safetensors(path, f"{field}.digest")
    elif artifact.kind == "network":
        check_arrays(path, f"{field}.digest")


def check_safetensors(path: Path, field: str) -> None:
    """Read the header of a safetensors file: every tensor has a type, a shape and a place within the file. Raises InvalidInput."""
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
    """Every member of an .npz archive is an array of numbers, or JSON. Raises InvalidInput."""
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
        raise InvalidInput(field, "a file that is no such archive", _NETWORK) from error
