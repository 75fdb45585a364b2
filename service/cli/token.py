"""`sparsemod token create`, `list`, `revoke`: who may use the server. It works on the database, so that whoever has that needs no token."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import console
from service.cli.serving import DEFAULT_DATA, DatabaseOption, DataOption

if TYPE_CHECKING:
    from service.store import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Tokens: who may use the server, and for what. Works on the database of --data-dir or --database.",
)

LONGEST_DAYS = 3650


class ScopeName(StrEnum):
    """The scopes, without loading what the service needs to know them."""

    READ = "read"
    WRITE = "write"
    WORKER = "worker"
    ADMIN = "admin"


@app.command("create")
def create(
    owner: Annotated[
        str, typer.Argument(help="To whom it belongs: a person, or what workers are called.", metavar="OWNER")
    ],
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(
            help="read: look; write: also make experiments and change one's own; worker: evaluate trials; admin: everything. May be given "
            "several times; default: write."
        ),
    ] = None,
    days: Annotated[float, typer.Option(help="How long it is good.", min=0.001, max=LONGEST_DAYS)] = 365.0,
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
) -> None:
    """Make a token and print it, this once. From the first one on, the server lets nobody in without."""
    from service.schemas.logins import Scope

    store = _store(data_dir, database)
    try:
        first = not store.closed()
        wanted = [Scope(name.value) for name in scope or [ScopeName.WRITE]]
        secret, made = store.create_token(owner, wanted, days * 86_400)
    finally:
        store.close()
    typer.echo(secret)
    until = "" if made.expires_at is None else f", good until {made.expires_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"token {made.token} of {owner} ({', '.join(made.scopes)}){until}", err=True)
    typer.echo("It is not shown again. Commands and workers take it from SPARSEMOD_TOKEN.", err=True)
    if first:
        typer.echo("From now on this server wants a token from everybody.", err=True)


@app.command("list")
def show(data_dir: DataOption = DEFAULT_DATA, database: DatabaseOption = "") -> None:
    """All tokens: to whom they belong, what they allow, until when. Their text is not stored."""
    from datetime import UTC, datetime

    from rich import box
    from rich.table import Table

    store = _store(data_dir, database)
    try:
        found, now = store.tokens(), datetime.now(UTC)
    finally:
        store.close()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("token", justify="right")
    for title in ("owner", "scopes", "made", "until", "state"):
        table.add_column(title)
    for item in found:
        expired = item.expires_at is not None and item.expires_at <= now
        state = "revoked" if item.revoked_at else "expired" if expired else "good"
        until = "-" if item.expires_at is None else f"{item.expires_at:%Y-%m-%d %H:%M}"
        made = f"{item.created_at:%Y-%m-%d %H:%M}"
        table.add_row(str(item.token), item.owner, ", ".join(item.scopes), made, until, state)
    console().print(table)


@app.command("revoke")
def revoke(
    number: Annotated[int, typer.Argument(help="Its number in the list.", metavar="TOKEN", min=1)],
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
) -> None:
    """End a token now, and the logins that were made with it."""
    store = _store(data_dir, database)
    try:
        found = store.revoke_token(number)
    finally:
        store.close()
    typer.echo(f"token {found.token} of {found.owner} is revoked")


def _store(data_dir: Path, database: str) -> "Store":
    from service.cli.serving import settings
    from service.store import open_store

    return open_store(settings(data_dir, database))
