"""Where the model files of specs are on this machine."""

import os
from pathlib import Path

from sparsemod.data.places import data_root
from sparsemod.errors import EnvironmentFailure
from sparsemod.spec.model_files import DIGEST

FOLDERS_VARIABLE = "SPARSEMOD_MODELS"
"""Environment variable with folders that hold files by digest, separated as in PATH."""


def offer(folder: Path) -> None:
    """Let this process and its children find the stored files in `folder` by their digests."""
    known = [place for place in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if place]
    os.environ[FOLDERS_VARIABLE] = os.pathsep.join(dict.fromkeys([str(folder.absolute()), *known]))


def named_file(value: str, field: str) -> Path:
    """Return the file that a spec names: by its path (relative to $SPARSEMOD_DATA), or by the digest of an uploaded file.

    Raises EnvironmentFailure when it is not on this machine.
    """
    found = DIGEST.fullmatch(value)
    if found is None:
        path = Path(value).expanduser()
        path = path if path.is_absolute() else data_root(None) / path
        if not path.is_file():
            raise EnvironmentFailure(f"{field} = {value!r}: no such file here")
        return path
    name = found[1]
    for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep):
        for place in (Path(folder) / name, Path(folder) / name[:2] / name[2:]):
            if folder and place.is_file():
                return place
    raise EnvironmentFailure(f"{field} = {value!r}: the uploaded file is not on this machine")
