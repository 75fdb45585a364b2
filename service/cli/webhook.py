"""`sparsemod webhook add`, `list`, `log`, `ping`, `enable`, `remove`: receivers of changes."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from service.cli.common import DEFAULT_SERVER, ServerOption, connect, counted

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Send a signed request to a URL when something changes."
)  # fmt: skip

NumberArgument = Annotated[
    int, typer.Argument(help="Number of the webhook in `sparsemod webhook list`.", metavar="WEBHOOK", min=1)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class EventName(StrEnum):
    """The events, without importing the service's schemas."""

    TRIAL_COMPLETED = "trial.completed"
    TRIAL_FAILED = "trial.failed"
    EXPERIMENT_FINISHED = "experiment.finished"
    EXPERIMENT_FAILED = "experiment.failed"
    FRONT_CHANGED = "front.changed"


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="Address of the receiver.", metavar="URL")],
    event: Annotated[
        list[EventName] | None, typer.Option(help="Only this event; repeatable. Default: all.")
    ] = None,
    experiment: Annotated[
        str, typer.Option(help="Only this experiment, by id or name. Default: all of yours.", metavar="EXPERIMENT")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--everything", help="Also experiments of other owners; needs the scope admin.")
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:  # fmt: skip
    """Register a receiver and print the secret of its signatures once."""
    from service.client.lookup import which

    client = connect(server)
    identity = which(client, experiment).id if experiment else None
    events = [one.value for one in event] if event else None
    made = client.add_webhook(url, events, identity, everything)
    typer.echo(made.secret)
    typer.echo(f"webhook {made.id} sends {', '.join(made.events)} to {made.url}", err=True)
    typer.echo("The secret is not shown again. The receiver needs it to check signatures.", err=True)


@app.command("list")
def show(server: ServerOption = DEFAULT_SERVER, json_output: JsonOption = False) -> None:
    """List your webhooks; with the scope admin, those of all owners."""
    listed = connect(server).webhooks()
    if json_output:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in listed], indent=1))
        return
    for one in listed:
        place = (
            f"experiment {one.experiment}"
            if one.experiment is not None
            else "everything"
            if one.everything
            else f"experiments of {one.owner or 'nobody'}"
        )
        state = f"disabled: {one.disabled}" if one.disabled else f"{one.waiting:,} waiting"
        typer.echo(f"{one.id}  {one.url}  {place}  {', '.join(one.events)}  {state}")


@app.command("log")
def log(
    webhook: NumberArgument,
    limit: Annotated[int, typer.Option(help="Print at most this many.", min=1, max=1000)] = 20,
    server: ServerOption = DEFAULT_SERVER,
    json_output: JsonOption = False,
) -> None:
    """List the deliveries of a webhook, newest first."""
    listed = connect(server).deliveries(webhook, limit)
    if json_output:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in listed], indent=1))
        return
    for one in listed:
        about = "" if one.experiment is None else f" of experiment {one.experiment}"
        why = f": {one.failure}" if one.failure else ""
        times = counted(one.attempts, "attempt")
        typer.echo(
            f"{one.created_at:%Y-%m-%d %H:%M:%S}  {one.id}  {one.event}{about}  {one.state.value}, {times}{why}"
        )


@app.command("ping")
def ping(webhook: NumberArgument, server: ServerOption = DEFAULT_SERVER) -> None:
    """Queue a delivery with the event `ping`."""
    made = connect(server).ping_webhook(webhook)
    typer.echo(f"delivery {made.id} is queued; `sparsemod webhook log {webhook}` shows how it ends")


@app.command("enable")
def enable(webhook: NumberArgument, server: ServerOption = DEFAULT_SERVER) -> None:
    """Send again to a receiver that was disabled after too many failures, or try again at once."""
    view = connect(server).enable_webhook(webhook)
    typer.echo(f"webhook {view.id} sends to {view.url}")


@app.command("remove")
def remove(webhook: NumberArgument, server: ServerOption = DEFAULT_SERVER) -> None:
    """Delete a webhook with its deliveries. What still waits is not sent."""
    connect(server).delete_webhook(webhook)
    typer.echo(f"webhook {webhook} is deleted")
