"""Folders of local runs as arguments of commands that also accept an experiment on the server."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparsemod.pipeline.local_run import LocalFolder

_PATHS = (f".{os.sep}", f"..{os.sep}", os.sep, "~")


def local_folder(argument: str) -> "LocalFolder | None":
    """Return the local run in the folder `argument`, or None when `argument` is the id or the name of an
    experiment.

    `argument` is a folder when it contains a spec.json or has the form of a path. Raises InvalidInput for a
    folder without a run, and for a path that begins like one (`./`, `../`, `/`, `~`) and does not exist.
    """
    path = Path(argument)
    if not argument or not (path / "spec.json").is_file():
        there = path.is_dir()
        if argument.startswith(_PATHS) or (os.sep in argument and there):
            from sparsemod.errors import InvalidInput

            why = "this folder has no spec.json" if there else "there is no such folder"
            allowed = f"an experiment, or the folder of a local run; {why}"
            raise InvalidInput("experiment", argument, allowed)
        return None
    from sparsemod.pipeline.local_run import LocalFolder

    return LocalFolder(path)
