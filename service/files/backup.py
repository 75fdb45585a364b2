"""Backups: one tar file with every row of the database and every recorded file, for SQLite and PostgreSQL alike.

The rows are those of one snapshot, written as JSON lines, so a backup of one kind of database can be restored into
the other. Files never change and an unreferenced one stays for a day, so they are read after the snapshot. Every
file is checked against its digest when it is written and again when it is restored.
"""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from service.files.artifacts import ArtifactFiles
from service.store import Store
from service.store.tables import artifacts
from sparsemod.errors import InvalidInput, SparsemodError
from sparsemod.files import Hasher, NewFile, move_durably, pieces_of, sync_folder
from sparsemod.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"
_ROWS = 2000


class BackupDamaged(SparsemodError):
    """A backup is incomplete, or its content differs from its manifest. Nothing was restored."""


class FileMissing(SparsemodError):
    """A file that trials refer to is missing or damaged, so a backup would be incomplete."""


def back_up(store: Store, files: ArtifactFiles, target: Path) -> dict[str, Any]:
    """Write a backup to `target` atomically and return its manifest.

    Raises InvalidInput when `target` exists, FileMissing when a recorded file is missing or damaged, OSError.
    """
    if target.exists():
        raise InvalidInput("target", str(target), "a file that does not exist yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
        with store._read() as connection:
            schema = str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar())
            counts: dict[str, int] = {}
            sums: dict[str, str] = {}
            for table in _tables(connection):
                path = Path(folder) / f"{table.name}.jsonl"
                counts[table.name], sums[table.name] = _dump(connection, table, path)
            recorded = list(
                connection.execute(sa.select(artifacts.c.digest).order_by(artifacts.c.digest)).scalars()
            )
        manifest = {
            "format": FORMAT, "version": __version__, "schema": schema, "rows": counts, "sha256": sums, "files": recorded,
        }  # fmt: skip
        written = Path(folder) / "backup.tar"
        with tarfile.open(written, "w") as tar:
            _add(tar, MANIFEST, json.dumps(manifest, indent=1).encode())
            for name in counts:
                tar.add(Path(folder) / f"{name}.jsonl", f"tables/{name}.jsonl")
            for digest in recorded:
                _add_file(tar, files.path(digest), digest)
        written.chmod(0o600)
        move_durably(written, target)
    return manifest


def restore(source: Path, store: Store, files: ArtifactFiles) -> dict[str, Any]:
    """Restore a backup into an empty database and return its manifest.

    The whole backup is checked before the first row is written, and the rows are written in one transaction: after
    an error the database is empty as before. Raises InvalidInput for a database that is not empty or a file that is
    no backup of this schema, BackupDamaged.
    """
    if not source.is_file():
        raise InvalidInput("source", str(source), "a file that `sparsemod backup` wrote")
    try:
        with tarfile.open(source) as tar:
            manifest = json.loads(_read(tar, MANIFEST))
            _check(tar, manifest, source)
            with store._write() as connection:
                version = str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar())
                if manifest["schema"] != version:
                    allowed = f"a backup of schema {version}; restore it with sparsemod {manifest['version']}, then upgrade"
                    raise InvalidInput("source", f"schema {manifest['schema']}", allowed)
                tables = _tables(connection)
                for table in tables:
                    if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar():
                        raise InvalidInput(
                            "database", f"rows in {table.name}", "an empty database: nothing is overwritten"
                        )
                for digest in manifest["files"]:
                    _place(tar, files, digest)
                for table in tables:
                    if table.name in manifest["rows"]:
                        _load(connection, table, tar)
                if store.backend == "postgresql":
                    _set_sequences(connection, tables)
            return dict(manifest)
    except (tarfile.TarError, json.JSONDecodeError, KeyError, EOFError) as error:
        raise BackupDamaged(f"{source} is no complete backup: {error}") from error


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """Return the tables of the database as they are, in the order of their references."""
    found = sa.MetaData()
    found.reflect(connection)
    return [
        table for table in found.sorted_tables if table.name not in ("alembic_version", "sqlite_sequence")
    ]


def _dump(connection: sa.Connection, table: sa.Table, path: Path) -> tuple[int, str]:
    """Write the rows of a table; return their number and the digest of the file."""
    count, hasher = 0, Hasher()
    order = list(table.primary_key.columns) or list(table.columns)
    rows = connection.execution_options(yield_per=_ROWS).execute(sa.select(table).order_by(*order)).mappings()
    with path.open("wb") as file:
        for row in rows:
            line = json.dumps(dict(row), separators=(",", ":")).encode() + b"\n"
            hasher.update(line)
            file.write(line)
            count += 1
    return count, hasher.digest


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _add_file(tar: tarfile.TarFile, path: Path, digest: str) -> None:
    hint = "`sparsemod doctor` lists such files"
    try:
        with path.open("rb") as file:
            if _digest(file) != digest:
                raise FileMissing(f"the content of {path} differs from its digest; {hint}")
            tar.add(path, f"artifacts/{digest.removeprefix('sha256:')}")
    except FileNotFoundError:
        raise FileMissing(f"{path} is missing, but the database refers to it; {hint}") from None


def _digest(file: IO[bytes]) -> str:
    hasher = Hasher()
    for piece in pieces_of(file):
        hasher.update(piece)
    return hasher.digest


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    content = tar.extractfile(name)
    if content is None:
        raise KeyError(name)
    return content


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    return _member(tar, name).read()


def _check(tar: tarfile.TarFile, manifest: Any, source: Path) -> None:
    """Raise BackupDamaged unless every table and every file is there and has its digest."""
    if manifest["format"] != FORMAT:
        raise InvalidInput("source", f"format {manifest['format']}", f"a backup of format {FORMAT}")
    wanted = {f"tables/{name}.jsonl": digest for name, digest in manifest["sha256"].items()}
    wanted |= {f"artifacts/{digest.removeprefix('sha256:')}": digest for digest in manifest["files"]}
    for name, digest in wanted.items():
        if _digest(_member(tar, name)) != digest:
            raise BackupDamaged(f"{source}: the content of {name} differs from its digest")


def _place(tar: tarfile.TarFile, files: ArtifactFiles, digest: str) -> None:
    path = files.path(digest)
    if path.is_file():
        with path.open("rb") as present:
            if _digest(present) == digest:
                return
    path.parent.mkdir(parents=True, exist_ok=True)
    with NewFile(path, prefix=".upload-", mode=0o600) as file:
        for piece in pieces_of(_member(tar, f"artifacts/{digest.removeprefix('sha256:')}")):
            file.write(piece)
        file.sync()
        file.place()
    sync_folder(path.parent)


def _load(connection: sa.Connection, table: sa.Table, tar: tarfile.TarFile) -> None:
    for rows in _batches(_member(tar, f"tables/{table.name}.jsonl")):
        connection.execute(sa.insert(table), rows)


def _batches(file: IO[bytes]) -> Iterator[list[dict[str, Any]]]:
    rows = []
    for line in file:
        rows.append(json.loads(line))
        if len(rows) == _ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _set_sequences(connection: sa.Connection, tables: list[sa.Table]) -> None:
    """Let PostgreSQL's counters continue after the restored ids."""
    for table in tables:
        for column in table.primary_key.columns:
            if not isinstance(column.type, sa.Integer):
                continue
            named = sa.func.pg_get_serial_sequence(table.name, column.name)
            if connection.execute(sa.select(named)).scalar() is not None:
                highest = sa.select(sa.func.max(column)).scalar_subquery()
                connection.execute(sa.select(sa.func.setval(named, highest)).where(highest.is_not(None)))
