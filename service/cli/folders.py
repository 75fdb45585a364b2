"""Folders of local runs as arguments of commands that otherwise take an experiment of the server."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparsemod.pipeline.local_run import LocalFolder


def local_folder(wanted: str) -> "LocalFolder | None":
    """The local run in the folder `wanted`, None where this is the id or the name of an experiment.

    A folder is one that holds a spec.json, or is written as a path. Raises InvalidInput for a path without a run.
    """
    path = Path(wanted)
    if not wanted or not (path / "spec.json").is_file():
        if os.sep in wanted and path.is_dir():
            from sparsemod.errors import InvalidInput

            allowed = "an experiment, or the folder of a local run; this folder has no spec.json"
            raise InvalidInput("experiment", wanted, allowed)
        return None
    from sparsemod.pipeline.local_run import LocalFolder

    return LocalFolder(path)
