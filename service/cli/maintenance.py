"""`sparsemod backup`, `restore`, `doctor`, `vacuum`: the care of database and artifacts. None needs a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import counted
from service.cli.serving import DEFAULT_DATA, DatabaseOption, DataOption

if TYPE_CHECKING:
    from service.files.artifacts import ArtifactFiles
    from service.store import Store


def backup(
    target: Annotated[Path, typer.Argument(help="File to write; it must not exist yet.", metavar="FILE.tar")],
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
) -> None:
    """Write database and artifacts to one file. The service may run meanwhile."""
    from service.files.backup import back_up

    store, files = _opened(data_dir, database)
    try:
        manifest = back_up(store, files, target)
    finally:
        store.close()
    rows, bytes_written = sum(manifest["rows"].values()), target.stat().st_size
    typer.echo(
        f"{target}: {counted(rows, 'row')}, {counted(len(manifest['files']), 'file')}, {bytes_written:,} bytes"
    )


def restore(
    source: Annotated[Path, typer.Argument(help="File that `sparsemod backup` wrote.", metavar="FILE.tar")],
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
) -> None:
    """Restore a backup into an empty database and the folder of artifacts, and check every file. Start the service
    afterwards: it continues. Trials that were running when the backup was made are queued again."""
    from service.files.backup import restore as bring_back

    store, files = _opened(data_dir, database)
    try:
        manifest = bring_back(source, store, files)
    finally:
        store.close()
    rows = sum(manifest["rows"].values())
    typer.echo(f"restored {counted(rows, 'row')} and {counted(len(manifest['files']), 'file')} from {source}")


def doctor(
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
    content: Annotated[
        bool, typer.Option("--content", help="Also read every file and compare its digest.")
    ] = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="Delete rows without files, damaged files, and files without rows.")
    ] = False,
) -> None:
    """Compare the database with the folder of artifacts; exit code 1 when they do not agree."""
    from service.files import doctor as examination

    store, files = _opened(data_dir, database)
    try:
        found = examination.examine(store, files, content=content)
        for kind, digests in (
            ("missing file", found.missing), ("damaged file", found.damaged), ("file without a row", found.unrecorded),
        ):  # fmt: skip
            for digest in digests:
                users = [f"{e}/{i}" for e, i, used in found.trials if used == digest]
                typer.echo(f"{kind}: {digest}" + (f", of trial {', '.join(users)}" if users else ""))
        if found.healthy:
            typer.echo("database and artifacts agree")
        elif mend:
            examination.mend(store, files, found)
            typer.echo("mended")
        else:
            raise typer.Exit(1)
    finally:
        store.close()


def vacuum(data_dir: DataOption = DEFAULT_DATA, database: DatabaseOption = "") -> None:
    """Give the space of deleted rows back to the disk. On SQLite, writers wait meanwhile."""
    from service.files.doctor import vacuum as shrink

    store, _ = _opened(data_dir, database)
    try:
        shrink(store)
    finally:
        store.close()
    typer.echo("done")


def _opened(data_dir: Path, database: str) -> "tuple[Store, ArtifactFiles]":
    from service.cli.serving import settings
    from service.files.artifacts import ArtifactFiles
    from service.store import open_store

    config = settings(data_dir, database)
    return open_store(config), ArtifactFiles(config.artifacts_dir, config.max_artifact_bytes)


COMMANDS = {"backup": backup, "restore": restore, "doctor": doctor, "vacuum": vacuum}
