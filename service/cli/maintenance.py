"""`sparsemod backup`, `restore`, `doctor`, `vacuum`: the care of database and artifacts. None needs a server."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import counted
from service.cli.serving import DEFAULT_DATA, DatabaseOption, DataOption

if TYPE_CHECKING:
    from service.files.artifacts import ArtifactFiles
    from service.settings import Settings
    from service.store import Store
    from service.store.retention_policy import Expired


def backup(
    target: Annotated[Path, typer.Argument(help="File to write; it must not exist yet.", metavar="FILE.tar")],
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
) -> None:
    """Write database and artifacts to one file. The service may run meanwhile."""
    from service.files.backup import back_up

    store, files, _ = _opened(data_dir, database)
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

    store, files, _ = _opened(data_dir, database)
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
    from service.store.retention_policy import Policy, total

    store, files, config = _opened(data_dir, database)
    try:
        found = examination.examine(store, files, content=content)
        for kind, digests in (
            ("missing file", found.missing), ("damaged file", found.damaged), ("file without a row", found.unrecorded),
        ):  # fmt: skip
            for digest in digests:
                users = [f"{e}/{i}" for e, i, used in found.trials if used == digest]
                typer.echo(f"{kind}: {digest}" + (f", of trial {', '.join(users)}" if users else ""))
        due = total(store.expire(Policy.of(config), None, dry_run=True))
        if not due.nothing:
            typer.echo(
                f"retention is due: {_listed(due)}; a running server deletes this, or `sparsemod vacuum`"
            )
        if found.healthy:
            typer.echo("database and artifacts agree")
        elif mend:
            examination.mend(store, files, found)
            typer.echo("mended")
        else:
            raise typer.Exit(1)
    finally:
        store.close()


def vacuum(
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
    artifact_days: Annotated[
        float | None,
        typer.Option(
            help="Delete the files of dominated trials of experiments that ended this long ago. Default: the setting; 0: never.",
            min=0,
        ),
    ] = None,
    event_days: Annotated[
        float | None, typer.Option(help="Delete events of this age. Default: the setting; 0: never.", min=0)
    ] = None,
    log_days: Annotated[
        float | None,
        typer.Option(
            help="Delete logs of attempts that ended this long ago. Default: the setting; 0: never.", min=0
        ),
    ] = None,
    audit_days: Annotated[
        float | None,
        typer.Option(help="Delete audit entries of this age. Default: the setting; 0: never.", min=0),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what retention would delete.")
    ] = False,
) -> None:
    """Apply retention, then give the space of deleted rows back to the disk. On SQLite, writers wait meanwhile.

    Without the settings SPARSEMOD_RETENTION_... and without options, retention deletes nothing. `sparsemod keep`
    protects an experiment or a trial.
    """
    from service.files.doctor import vacuum as shrink
    from service.store.retention_policy import Policy, total

    store, files, config = _opened(data_dir, database)
    given = {"artifacts": artifact_days, "events": event_days, "logs": log_days, "audit": audit_days}
    policy = replace(
        Policy.of(config), **{name: days or None for name, days in given.items() if days is not None}
    )
    try:
        found = total(store.expire(policy, files.remove, dry_run=dry_run))
        for experiment, indices in sorted(found.by_experiment.items()):
            shown = ", ".join(map(str, indices[:20])) + (", ..." if len(indices) > 20 else "")
            typer.echo(f"experiment {experiment}: files of {counted(len(indices), 'trial')} ({shown})")
        if dry_run:
            typer.echo(f"retention would delete {_listed(found)}")
            return
        typer.echo(f"retention deleted {_listed(found)}")
        shrink(store)
    finally:
        store.close()
    typer.echo("done")


def _listed(found: "Expired") -> str:
    """Return what retention deletes as text."""
    if found.nothing:
        return "nothing"
    parts = [
        counted(found.files, "file") + f" ({found.bytes:,} bytes)", counted(found.events, "event"),
        counted(found.log_lines, "log line"), f"{found.audit:,} audit {'entry' if found.audit == 1 else 'entries'}",
    ]  # fmt: skip
    return ", ".join(parts)


def _opened(data_dir: Path, database: str) -> "tuple[Store, ArtifactFiles, Settings]":
    from service.cli.serving import settings
    from service.files.artifacts import ArtifactFiles
    from service.store import open_store

    config = settings(data_dir, database)
    return open_store(config), ArtifactFiles(config.artifacts_dir, config.max_artifact_bytes), config


COMMANDS = {"backup": backup, "restore": restore, "doctor": doctor, "vacuum": vacuum}
