"""`sparsemod retry`: failed trials again, stopped trials to their end."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    connect,
    console,
    counted,
    import_modules,
)
from service.cli.folders import local_folder
from service.client.lookup import which

if TYPE_CHECKING:
    from sparsemod.pipeline.local_run import LocalFolder


def retry(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Id or name of an experiment, or the folder of a local run; the newest experiment when left out.",
            metavar="[EXPERIMENT]",
        ),
    ] = "",
    trial: Annotated[
        list[int] | None,
        typer.Option("--trial", "-t", help="This failed or stopped trial; repeatable.", min=0, metavar="N"),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Retry failed trials, each with all its attempts, or continue stopped ones.
    Without --trial: all that failed by a fault, but no network that cannot be built.
    A trial continues from its last checkpoint if there is one, else it starts again; no stopping rule ends it again.
    In the folder of a local run: stopped trials only."""
    import_modules(imports)
    folder = local_folder(experiment)
    if folder is not None:
        _continue_here(folder, trial or [])
        return
    client = connect(server)
    view = which(client, experiment)
    requeued = client.retry(view.id, trial or None)
    if not requeued:
        typer.echo(f"no trial of experiment {view.id} ({view.name}) has failed by a fault")
        return
    names = ", ".join(map(str, requeued))
    typer.echo(
        f"{counted(len(requeued), 'trial')} of experiment {view.id} ({view.name}) queued again: {names}"
    )


def _continue_here(folder: "LocalFolder", indices: list[int]) -> None:
    """Continue stopped trials of a local run in this process."""
    from service.cli.local import one_thread, trial_line
    from sparsemod.errors import InvalidInput

    if not indices:
        stopped = [str(one.index) for one in folder.trials if one.stopping is not None]
        allowed = f"the stopped trials to continue, of {', '.join(stopped) or 'none in this folder'}"
        raise InvalidInput("--trial", None, allowed)
    with console(stderr=True).status("loading torch and the data"):
        one_thread()
        from sparsemod.pipeline.local_run import LocalRun

        run = LocalRun(folder.spec, folder.folder)
    run.continue_trials(indices, lambda trial: print(trial_line(trial, run.spec.objectives), flush=True))


COMMANDS = {"retry": retry}
