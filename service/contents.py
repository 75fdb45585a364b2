"""What may be uploaded: data, never code. Pickled objects run whatever they like when they are loaded, so none are taken."""

import io
import json
import re
import struct
import zipfile
from pathlib import Path

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.records import Artifact

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Names under which files are downloaded. They become no paths here; they should do no harm elsewhere either."""

_HEADER_LIMIT = 100 * 1024**2
_MEMBERS_LIMIT = 10_000
_WEIGHTS = "a safetensors file: weights are taken as plain tensors, never pickled"
_NETWORK = "an .npz archive of plain arrays and its header.json"


def refuse_pickled(path: Path) -> None:
    """Refuse a file that is, or holds, a pickle, whatever it is said to be. Raises InvalidInput."""
    with path.open("rb") as file:
        start = file.read(3)
    # Protocols 2 to 5 begin so; older ones are text. A zero is no instruction of a pickle, but a safetensors header of, say, 640 bytes
    # begins with 0x80 0x02 0x00.
    if len(start) == 3 and start[0] == 0x80 and 2 <= start[1] <= 5 and start[2] != 0:
        raise InvalidInput(
            "body", "pickled data", "data that can be read without running it; weights as safetensors"
        )
    if start[:2] == b"PK" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith((".pkl", ".pickle")):
                    raise InvalidInput(
                        "body", f"an archive with {name[:80]}", "no pickled data; weights as safetensors"
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
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise InvalidInput(field, "a file without a safetensors header", _WEIGHTS)
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
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS_LIMIT:
                raise InvalidInput(field, f"{len(members)} members", f"at most {_MEMBERS_LIMIT}")
            for member in members:
                if member.filename.endswith(".json"):
                    continue
                if not member.filename.endswith(".npy"):
                    raise InvalidInput(field, f"an archive with {member.filename[:80]}", _NETWORK)
                with archive.open(member) as file:
                    start = io.BytesIO(file.read(70_000))
                version = np.lib.format.read_magic(start)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                _, _, kind = read(start)
                if kind.hasobject:
                    raise InvalidInput(field, f"{member.filename[:80]} holds pickled objects", _NETWORK)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(field, "a file that is no such archive", _NETWORK) from error
