"""`sparsemod token create`, `list`, `revoke`: access to the server.
The commands use the database, so they need no token."""

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
    help="Manage tokens for the server, in the database of --data-dir or --database.",
)

LONGEST_DAYS = 3650


class ScopeName(StrEnum):
    """The scopes, without importing the service's schemas."""

    READ = "read"
    WRITE = "write"
    WORKER = "worker"
    ADMIN = "admin"


@app.command("create")
def create(
    owner: Annotated[
        str, typer.Argument(help="Owner of the token: a person, or a name for workers.", metavar="OWNER")
    ],
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(
            help="read: read everything; write: also create experiments and change your own; worker: evaluate trials; admin: everything. "
            "Repeatable. Default: write."
        ),
    ] = None,
    days: Annotated[float, typer.Option(help="Lifetime in days.", min=0.001, max=LONGEST_DAYS)] = 365.0,
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
) -> None:
    """Create a token and print it once. From the first token on, the server refuses requests without one."""
    from service.schemas.logins import Scope

    store = _store(data_dir, database)
    try:
        first = not store.closed()
        scopes = [Scope(name.value) for name in scope or [ScopeName.WRITE]]
        secret, view = store.create_token(owner, scopes, days * 86_400)
        names = ", ".join(view.scopes)
        store.record("sparsemod token create", f"token {view.token} of {owner}: {names}")
    finally:
        store.close()
    typer.echo(secret)
    until = "" if view.expires_at is None else f", valid until {view.expires_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"token {view.token} of {owner} ({', '.join(view.scopes)}){until}", err=True)
    typer.echo("It is not shown again. Commands and workers take it from SPARSEMOD_TOKEN.", err=True)
    if first:
        typer.echo("From now on this server requires a token.", err=True)


@app.command("list")
def show(data_dir: DataOption = DEFAULT_DATA, database: DatabaseOption = "") -> None:
    """List all tokens with owner, scopes, expiry and state. The database does not store their text."""
    from datetime import UTC, datetime

    from rich import box
    from rich.table import Table

    store = _store(data_dir, database)
    try:
        tokens, now = store.tokens(), datetime.now(UTC)
    finally:
        store.close()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("token", justify="right")
    for title in ("owner", "scopes", "created", "until", "state"):
        table.add_column(title)
    for item in tokens:
        expired = item.expires_at is not None and item.expires_at <= now
        state = "revoked" if item.revoked_at else "expired" if expired else "valid"
        until = "-" if item.expires_at is None else f"{item.expires_at:%Y-%m-%d %H:%M}"
        created = f"{item.created_at:%Y-%m-%d %H:%M}"
        table.add_row(str(item.token), item.owner, ", ".join(item.scopes), created, until, state)
    console().print(table)


@app.command("revoke")
def revoke(
    number: Annotated[
        int, typer.Argument(help="Number of the token in `sparsemod token list`.", metavar="TOKEN", min=1)
    ],
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
) -> None:
    """Revoke a token, and end the logins that were made with it."""
    store = _store(data_dir, database)
    try:
        revoked = store.revoke_token(number)
        store.record("sparsemod token revoke", f"token {number} of {revoked.owner}")
    finally:
        store.close()
    typer.echo(f"token {revoked.token} of {revoked.owner} is revoked")


def _store(data_dir: Path, database: str) -> "Store":
    from service.cli.serving import settings
    from service.store import open_store

    return open_store(settings(data_dir, database))
