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
    path that is no folder of a run.
    """
    path = Path(argument)
    if not argument or not (path / "spec.json").is_file():
        if os.sep in argument:  # no name of an experiment has one
            from sparsemod.errors import InvalidInput

            problem = "this folder has no spec.json" if path.is_dir() else "there is no such folder"
            raise InvalidInput(
                "experiment", argument, f"an experiment, or the folder of a local run; {problem}"
            )
        return None
    from sparsemod.pipeline.local_run import LocalFolder

    return LocalFolder(path)
