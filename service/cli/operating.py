"""`sparsemod keep`: protect results from retention."""

from typing import Annotated

import typer

from service.cli.common import DEFAULT_SERVER, ServerOption, connect


def keep(
    experiment: Annotated[str, typer.Argument(help="Id or name of an experiment.")],
    trial: Annotated[
        list[int] | None, typer.Option("--trial", help="Only this trial; repeatable.", metavar="N", min=0)
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let retention delete them again.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Protect an experiment, or some of its trials, from retention."""
    from service.client.lookup import which

    client = connect(server)
    view = which(client, experiment)
    client.keep(view.id, not undo, trial)
    what = f"experiment {view.id} ({view.name})"
    if trial:
        what = f"trial {', '.join(map(str, sorted(set(trial))))} of {what}"
    typer.echo(f"{what}: retention {'may delete it' if undo else 'deletes nothing of it'}")


COMMANDS = {"keep": keep}
