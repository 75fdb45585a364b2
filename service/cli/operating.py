"""`sparsemod keep`, `quota`: protect results from retention, show what an owner uses."""

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


def quota(
    owner: Annotated[
        str, typer.Option(help="Another owner; needs a token with the scope admin.", metavar="NAME")
    ] = "",
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what you use of each quota: disk, uploads, experiments, open streams."""
    view = connect(server).quota(owner or None)
    if json_output:
        typer.echo(view.model_dump_json(indent=1))
        return
    for one in view.quotas:
        limit = f"{one.unit}, no limit" if one.limit is None else f"of {one.limit:,} {one.unit}"
        typer.echo(f"{one.quota:12} {one.used:>16,} {limit}")


COMMANDS = {"keep": keep, "quota": quota}
