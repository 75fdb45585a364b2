"""The models of a Pareto front as files, by trial."""

from collections.abc import Callable, Iterable
from pathlib import Path

from sparsemod.files import write_atomically
from sparsemod.records import TrialRecord


def write_models(folder: Path, best: Iterable[TrialRecord], place: Callable[[str], Path]) -> None:
    """Copy the stored weights and integer networks of the trials to `folder` as trial-INDEX.SUFFIX.

    Files of trials that are not among them any more are removed. `place`: the path of an artifact by its digest.
    """
    folder.mkdir(exist_ok=True)
    wanted = {
        f"trial-{row.index}{Path(artifact.name).suffix}": place(artifact.digest)
        for row in best
        for artifact in row.artifacts
    }
    for file in folder.iterdir():
        if file.name not in wanted:
            file.unlink()
    for name, source in wanted.items():
        if not source.is_file():
            continue
        content, file = source.read_bytes(), folder / name
        if not file.exists() or file.read_bytes() != content:
            write_atomically(file, content)
