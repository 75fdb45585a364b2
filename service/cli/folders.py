"""Folders of local runs as arguments of commands that also accept an experiment on the server."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparsemod.pipeline.local_run import LocalFolder


def local_folder(argument: str) -> "LocalFolder | None":
    """Return the local run in the folder `argument`, or None when `argument` is the id or the name of an
    experiment.

    `argument` is a folder when it contains a spec.json or has the form of a path. Raises InvalidInput for a
    folder without a run.
    """
    path = Path(argument)
    if not argument or not (path / "spec.json").is_file():
        if os.sep in argument and path.is_dir():
            from sparsemod.errors import InvalidInput

            allowed = "an experiment, or the folder of a local run; this folder has no spec.json"
            raise InvalidInput("experiment", argument, allowed)
        return None
    from sparsemod.pipeline.local_run import LocalFolder

    return LocalFolder(path)
