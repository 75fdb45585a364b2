"""`sparsemod workers`, `drain`, `whoami`: a server's workers, and the caller's login."""

from typing import Annotated

import typer

from service.cli.common import DEFAULT_SERVER, ServerOption, connect, console, duration


def workers(
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the workers that contacted the server in the last hour:
    state, device, trials, and the time since the last contact."""
    import json
    from datetime import UTC, datetime

    from rich import box
    from rich.table import Table
    from rich.text import Text

    listed = sorted(connect(server).workers(), key=lambda worker: worker.name)
    if json_output:
        typer.echo(json.dumps([worker.model_dump(mode="json") for worker in listed], indent=1))
        return
    if not listed:
        typer.echo(f"no worker contacted the server in the last hour; `worker --server {server}` starts one")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("worker", "state", "device"):
        table.add_column(title)
    table.add_column("slots", justify="right")
    table.add_column("trials")
    table.add_column("last heartbeat", justify="right")
    styles = {"busy": "cyan", "draining": "yellow", "paused": "yellow", "no heartbeat": "red", "idle": "dim"}
    now = datetime.now(UTC)
    for worker in listed:
        state = "draining" if worker.draining else "busy" if worker.trials else "idle"
        if worker.pauses and not worker.trials and not worker.draining:
            state = "paused"
        if not worker.alive:
            state = "no heartbeat"
        table.add_row(
            worker.name,
            Text(state, style=styles[state]),
            worker.device,
            str(worker.slots),
            trials_text(worker.trials) or "-",
            f"{duration(max(0.0, (now - worker.last_seen).total_seconds()))} ago",
        )
    console().print(table)
    for worker in listed:
        for pause in worker.pauses:
            place = "" if pause.experiment is None else f" for experiment {pause.experiment}"
            left = duration(max(0.0, (pause.until - now).total_seconds()))
            typer.echo(f"{worker.name} is paused{place}, for {left} more: {pause.reason}")


def audit(
    server: ServerOption = DEFAULT_SERVER,
    experiment: Annotated[
        int | None, typer.Option(help="Only changes of this experiment.", metavar="ID", min=1)
    ] = None,
    limit: Annotated[int, typer.Option(help="Print at most this many entries.", min=1, max=1000)] = 50,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who changed what, newest first. On a server with logins, this needs a token with the scope admin."""
    import json

    entries = connect(server).audit(experiment, limit)
    if json_output:
        typer.echo(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1))
        return
    for entry in entries:
        owner = entry.owner or "(no login)"
        typer.echo(f"{entry.time:%Y-%m-%d %H:%M:%S}  {owner}  {entry.action}  {entry.target}")


def trials_text(trials: tuple[tuple[int, int], ...]) -> str:
    """Return the trials that a worker holds as text."""
    return ", ".join(f"experiment {experiment} trial {index}" for experiment, index in trials)


def drain(
    worker: Annotated[str, typer.Argument(help="Name of a worker; see `sparsemod workers`.")],
    undo: Annotated[bool, typer.Option("--undo", help="Give it trials again.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Hand out no more trials to a worker.
    It finishes those that it has and keeps running. --undo also ends its pauses."""
    from sparsemod.errors import NotFound, UnknownName

    client = connect(server)
    try:
        client.drain(worker, not undo)
    except NotFound:
        raise UnknownName("worker", worker, [entry.name for entry in client.workers()]) from None
    if undo:
        typer.echo(f"{worker} gets trials again")
        return
    now = [entry for entry in client.workers() if entry.name == worker]
    words = trials_text(now[0].trials) if now else ""
    rest = f"it finishes {words}" if words else "it has none"
    typer.echo(f'{worker} gets no more trials, {rest}; `sparsemod drain "{worker}" --undo` undoes this')


def whoami(
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show your login: owner and scopes of your token, or that the server needs no token."""
    from datetime import UTC, datetime

    me = connect(server).me()
    if json_output:
        typer.echo(me.model_dump_json(indent=1))
    elif me.open:
        typer.echo(f"{server} is open: it needs no token, and everyone on its machine may do everything")
    elif me.login is None:
        typer.echo(f"{server} does not accept this token, or received none; set SPARSEMOD_TOKEN or --token")
    else:
        until = me.login.expires_at
        left = (
            ""
            if until is None
            else f", valid for {duration((until - datetime.now(UTC)).total_seconds())} more"
        )
        scopes = ", ".join(me.login.scopes)
        typer.echo(f"{me.login.owner}, by token {me.login.token} with the scope {scopes}{left}")


COMMANDS = {"workers": workers, "drain": drain, "audit": audit, "whoami": whoami}
