"""Locations of datasets on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

ROOT_VARIABLE = "SPARSEMOD_DATA"


def data_root(root: str | Path | None) -> Path:
    """Return the folder of all datasets: `root`, else $SPARSEMOD_DATA, else the user's cache folder.

    It may not exist yet.
    """
    if root is not None:
        return Path(root).expanduser()
    named = os.environ.get(ROOT_VARIABLE)
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sparsemod" / "data"


def find(root: Path, folders: Sequence[str], names: Sequence[str]) -> Path | None:
    """Return the first file with one of `names` in `folders` below `root` or in `root` itself; None without one."""
    for folder in (*folders, "."):
        for name in names:
            path = root / folder / name
            if path.is_file():
                return path
    return None
