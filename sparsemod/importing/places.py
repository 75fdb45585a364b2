"""Where the model files of specs are on this machine."""

import os
import re
from pathlib import Path

from sparsemod.errors import EnvironmentFailure

FOLDERS_VARIABLE = "SPARSEMOD_MODELS"
"""Environment variable with folders that hold files by digest, separated as in PATH."""

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def is_digest(value: object) -> bool:
    """Return whether a value of a spec names a stored file by its digest."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def named_file(value: str, field: str) -> Path:
    """Return the file that a spec names: by its path, or by the digest of an uploaded file.

    Raises EnvironmentFailure when it is not on this machine.
    """
    found = _DIGEST.fullmatch(value)
    if found is None:
        path = Path(value).expanduser()
        if not path.is_file():
            raise EnvironmentFailure(f"{field} = {value!r}: no such file here")
        return path
    name = found[1]
    for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep):
        for place in (Path(folder) / name, Path(folder) / name[:2] / name[2:]):
            if folder and place.is_file():
                return place
    raise EnvironmentFailure(f"{field} = {value!r}: the uploaded file is not on this machine")
