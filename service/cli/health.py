"""`sparsemod health`: whether a part of the service can do its work, as an exit code for whoever watches over it."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import DEFAULT_SERVER, ServerOption, complain, connect

if TYPE_CHECKING:
    from service.schemas.trials import PauseView

SECONDS = 5.0
"""How long an answer may take."""


def health(
    server: ServerOption = DEFAULT_SERVER,
    database: Annotated[
        bool,
        typer.Option("--database", help="Ask the database that SPARSEMOD_DATABASE_URL names, not a server."),
    ] = False,
) -> None:
    """Ask whether the server, or the database, answers; exit code 1 when it does not. Asks once."""
    from sparsemod.errors import ServerUnavailable

    try:
        typer.echo(_database() if database else _server(server))
    except ServerUnavailable as error:
        complain(str(error))
        raise typer.Exit(1) from None


def _server(url: str) -> str:
    found = connect(url, timeout=SECONDS).health()
    first = f"{url} answers: sparsemod {found.version}, {found.database}, schema {found.schema_version}"
    return "\n".join([first, *map(_paused, found.pauses)])


def _paused(pause: "PauseView") -> str:
    who = "everything" if pause.worker is None and pause.experiment is None else ""
    parts = [
        f"worker {pause.worker}" if pause.worker is not None else "",
        f"experiment {pause.experiment}" if pause.experiment is not None else "",
    ]
    return f"paused: {who or ', '.join(filter(None, parts))}: {pause.reason}"


def _database() -> str:
    from service.settings import Settings
    from service.store import open_store

    store = open_store(Settings())
    try:
        return f"the database answers: {store.backend}, schema {store.check()}"
    finally:
        store.close()
