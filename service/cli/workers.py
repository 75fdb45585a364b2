"""`sparsemod workers`, `drain`, `whoami`: who works for a server, and as whom one asks it."""

from typing import Annotated

import typer

from service.cli.common import DEFAULT_SERVER, ServerOption, connect, console, duration


def workers(
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the workers that were heard of in the last hour: what each does, on what, and since when it is silent."""
    import json
    from datetime import UTC, datetime

    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = sorted(connect(server).workers(), key=lambda worker: worker.name)
    if json_output:
        typer.echo(json.dumps([worker.model_dump(mode="json") for worker in found], indent=1))
        return
    if not found:
        typer.echo(f"no worker was heard of; `worker --server {server}` starts one")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("worker", "state", "device"):
        table.add_column(title)
    table.add_column("slots", justify="right")
    table.add_column("works on")
    table.add_column("last heard of", justify="right")
    styles = {"busy": "cyan", "draining": "yellow", "paused": "yellow", "not heard of": "red", "idle": "dim"}
    now = datetime.now(UTC)
    for worker in found:
        state = "draining" if worker.draining else "busy" if worker.trials else "idle"
        if worker.pauses and not worker.trials and not worker.draining:
            state = "paused"
        if not worker.alive:
            state = "not heard of"
        table.add_row(
            worker.name,
            Text(state, style=styles[state]),
            worker.device,
            str(worker.slots),
            held(worker.trials) or "-",
            f"{duration(max(0.0, (now - worker.last_seen).total_seconds()))} ago",
        )
    console().print(table)
    for worker in found:
        for pause in worker.pauses:
            place = "" if pause.experiment is None else f" for experiment {pause.experiment}"
            left = duration(max(0.0, (pause.until - now).total_seconds()))
            typer.echo(f"{worker.name} is paused{place}, for {left} more: {pause.reason}")


def held(trials: tuple[tuple[int, int], ...]) -> str:
    """Trials that a worker holds, as words."""
    return ", ".join(f"experiment {experiment} trial {index}" for experiment, index in trials)


def drain(
    worker: Annotated[str, typer.Argument(help="Name of a worker, see `sparsemod workers`.")],
    undo: Annotated[bool, typer.Option("--undo", help="Give it trials again.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Hand out no more trials to a worker. It finishes those that it has, and goes on waiting. --undo also ends its pauses."""
    from sparsemod.errors import NotFound, UnknownName

    client = connect(server)
    try:
        client.drain(worker, not undo)
    except NotFound:
        raise UnknownName("worker", worker, [known.name for known in client.workers()]) from None
    if undo:
        typer.echo(f"{worker} gets trials again")
        return
    now = [known for known in client.workers() if known.name == worker]
    words = held(now[0].trials) if now else ""
    rest = f"it finishes {words}" if words else "it has none"
    typer.echo(f'{worker} gets no more trials, {rest}; `sparsemod drain "{worker}" --undo` takes that back')


def whoami(
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say as whom the server knows you: owner and scopes of the token that you show, or that it wants none."""
    from datetime import UTC, datetime

    found = connect(server).me()
    if json_output:
        typer.echo(found.model_dump_json(indent=1))
    elif found.open:
        typer.echo(f"{server} is open: it wants no token, and everybody on its machine may do everything")
    elif found.login is None:
        typer.echo(f"{server} knows nobody by this token, or was shown none: SPARSEMOD_TOKEN or --token")
    else:
        until = found.login.expires_at
        left = (
            ""
            if until is None
            else f", good for {duration((until - datetime.now(UTC)).total_seconds())} more"
        )
        scopes = ", ".join(found.login.scopes)
        typer.echo(f"{found.login.owner}, by token {found.login.token} with the scope {scopes}{left}")


COMMANDS = {"workers": workers, "drain": drain, "whoami": whoami}
