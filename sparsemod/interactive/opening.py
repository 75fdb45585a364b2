"""Functions that run an experiment in this process or open the results of a run."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sparsemod.interactive.folder import FolderSource
from sparsemod.interactive.results import Results
from sparsemod.plugins import Names
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import read_local
from sparsemod.spec.plain import SpecFile


def load(path: Path | str) -> Results:
    """Return the results in the folder of a local run, which may be active or interrupted.

    Raises NotFound for a folder without a run, InvalidInput for damaged files.
    """
    return Results(FolderSource(Path(path)))


def run(
    spec: ExperimentSpec | Mapping[str, Any] | Path | str,
    folder: Path | str | None = None,
    *,
    device: str | None = None,
    progress: bool = True,
) -> Results:
    """Run an experiment in this process, one trial at a time, as `sparsemod run` does; return its results.

    `spec`: the path of a spec file, or a spec as ExperimentSpec or plain data. `folder`: default runs/NAME.
    A run continues in a folder with the same spec, also after an interruption (Ctrl-C, or the notebook's
    stop button). `device`: torch device of the training; default: `cuda_n` of a `config.cfg` where torch has that device, else
    the CPU. `progress`: show a bar in a terminal or notebook,
    else a line for each trial.

    torch uses one thread during the run: tiny networks train fastest this way, and equal seeds give equal
    results. Raises InvalidInput for an error in the spec, Conflict for a folder with another spec or an
    active run, SpaceEmpty when no candidate meets the budgets, EnvironmentFailure when the machine lacks a
    resource, such as disk space.
    """
    from sparsemod.interactive.progress import NoProgress, bar
    from sparsemod.pipeline.journal import Finished
    from sparsemod.pipeline.local_run import LocalRun
    from sparsemod.training.process import chosen_device, one_thread

    file = _read(spec)
    place = (
        Path(folder) if folder is not None else (file.root or Path("runs")) / file.spec.name.replace(" ", "-")
    )
    with file.locating():
        torch_device = chosen_device(device, file.device)
        local = LocalRun(file.spec, place, device=torch_device)
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        display = stack.enter_context(bar(local) if progress else NoProgress())

        def finished(trial: Finished) -> None:
            display.finished(trial)
            if file.debug and trial.failure_text:
                print(trial.failure_text, file=sys.stderr)

        try:
            local.run(finished, display.started)
        except KeyboardInterrupt:
            local.write()
            raise
    return load(place)


def _read(spec: ExperimentSpec | Mapping[str, Any] | Path | str) -> SpecFile:
    """Return the spec and, for a file, the places of its keys. Raises InvalidSpec."""
    if isinstance(spec, ExperimentSpec):
        return SpecFile(spec)
    if isinstance(spec, Mapping):
        return SpecFile(ExperimentSpec.parse(dict(spec), names=Names.IMPORTED))
    return read_local(spec)
