"""Backup, restore, doctor and vacuum on both databases. A restored copy runs on."""

import os
import tarfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from support_postgres import Postgres
from support_store import Clock, completed, fill, point, spec
from typer.testing import CliRunner

from service.cli import app
from service.files.artifacts import ArtifactFiles
from service.files.backup import BackupDamaged, FileMissing, back_up, restore
from service.files.doctor import examine, mend, vacuum
from service.schemas.logins import Scope
from service.schemas.trials import LogLine
from service.store import Store
from service.store.tables import metadata
from sparsemod.errors import InvalidInput
from sparsemod.files import digest_of
from sparsemod.records import Artifact, TrialState

pytest_plugins = ["support_store_fixtures"]

WEIGHTS = b"weights of a network"


@pytest.fixture
def files(tmp_path: Path) -> ArtifactFiles:
    return ArtifactFiles(tmp_path / "artifacts", 10_000)


def filled(store: Store, files: ArtifactFiles) -> int:
    """An experiment with a completed trial that has a file, a running trial with a checkpoint, and a queued one."""
    made = store.create_experiment(spec()).id
    fill(store, made, 3)
    claim = store.claim("w")
    assert claim is not None
    info = files.add(WEIGHTS, store)
    file = Artifact(kind="weights", digest=info.digest, size=info.size, name="weights.bin")
    store.points(claim.attempt, claim.token, [point(1)], [LogLine(time=1.0, level="info", message="é")])
    store.finish(claim.attempt, claim.token, completed(artifacts=(file,)))
    running = store.claim("w")
    assert running is not None
    store.checkpoint(running.attempt, running.token, files.add(b"half trained", store).digest)
    store.create_token("ada", [Scope.ADMIN])
    return made


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store._read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restored_copy_equals_the_original_and_runs_on(
    store: Store,
    clock: Clock,
    files: ArtifactFiles,
    tmp_path: Path,
    kind: str,
    request: pytest.FixtureRequest,
) -> None:
    """From each kind of database into each kind."""
    made = filled(store, files)
    manifest = back_up(store, files, tmp_path / "b.tar")
    assert manifest["rows"]["trials"] == 3 and len(manifest["files"]) == 2
    server: Postgres | None = request.getfixturevalue("postgres") if kind == "postgresql" else None
    copy = Store.open(server.database() if server else f"sqlite:///{tmp_path / 'copy.db'}", clock=clock)
    there = ArtifactFiles(tmp_path / "there", 10_000)
    restore(tmp_path / "b.tar", copy, there)
    assert rows(copy) == rows(store)
    assert there.open(digest_of(WEIGHTS)).read_bytes() == WEIGHTS
    assert examine(copy, there, content=True).healthy
    clock.advance(1000.0)  # the lease of the running trial expires
    assert copy.reap() == 1
    assert copy.claim("v") is not None  # the trial that was running, from its checkpoint
    other = copy.claim("v")
    assert other is not None
    copy.finish(other.attempt, other.token, completed())
    fill(copy, made, 1)
    assert copy.create_experiment(spec()).id == made + 1
    assert [t.state for t in copy.trials(made)[0]].count(TrialState.COMPLETED) == 2
    copy.close()


def test_a_restore_needs_an_empty_database_and_a_whole_backup(
    store: Store, files: ArtifactFiles, tmp_path: Path
) -> None:
    filled(store, files)
    before = rows(store)
    backup = tmp_path / "b.tar"
    back_up(store, files, backup)
    with pytest.raises(InvalidInput, match="an empty database"):
        restore(backup, store, files)
    with pytest.raises(InvalidInput, match="does not exist yet"):
        back_up(store, files, backup)
    assert rows(store) == before
    empty = Store.open(f"sqlite:///{tmp_path / 'empty.db'}")
    content = backup.read_bytes()
    for broken in (content.replace(WEIGHTS, WEIGHTS[::-1]), content[: len(content) // 2], b"no tar"):
        damaged = tmp_path / "damaged.tar"
        damaged.write_bytes(broken)
        with pytest.raises(BackupDamaged):
            restore(damaged, empty, ArtifactFiles(tmp_path / "elsewhere", 10_000))
    assert rows(empty)["experiments"] == [] and not (tmp_path / "elsewhere").exists()
    empty.close()


def test_a_backup_without_a_file_is_refused(store: Store, files: ArtifactFiles, tmp_path: Path) -> None:
    filled(store, files)
    files.path(digest_of(WEIGHTS)).unlink()
    with pytest.raises(FileMissing, match="is missing"):
        back_up(store, files, tmp_path / "b.tar")
    assert [path.name for path in tmp_path.iterdir() if "b.tar" in path.name or ".backup" in path.name] == []


def test_doctor_finds_and_mends_rows_without_files_and_files_without_rows(
    store: Store, files: ArtifactFiles
) -> None:
    made = filled(store, files)
    assert examine(store, files, content=True).healthy
    lost, half = digest_of(WEIGHTS), digest_of(b"half trained")
    files.path(lost).unlink()
    files.path(half).write_bytes(b"HALF TRAINED")
    stray = files.path("sha256:" + "ab" * 32)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"?")
    assert examine(store, files).unrecorded == []  # perhaps an upload that is not recorded yet
    os.utime(stray, (1.0, 1.0))
    assert examine(store, files).damaged == []  # only --content reads the files
    found = examine(store, files, content=True)
    assert (found.missing, found.damaged, found.unrecorded) == ([lost], [half], ["sha256:" + "ab" * 32])
    assert found.trials == [(made, 0, lost), (made, 1, half)]
    mend(store, files, found)
    assert examine(store, files, content=True).healthy and not stray.exists()
    trial = store.trial(made, 0)
    assert trial.state is TrialState.COMPLETED and trial.artifacts == ()
    vacuum(store)


def test_vacuum_gives_the_space_of_deleted_rows_back(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    store.points(
        claim.attempt,
        claim.token,
        [],
        [LogLine(time=float(n), level="info", message="m" * 500) for n in range(500)],
    )

    def pages() -> int:
        table = "SELECT pg_relation_size('log_lines') / 8192"
        query = table if store.backend == "postgresql" else "PRAGMA page_count"
        with store.engine.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())

    before = pages()
    store.delete_experiment(made)
    assert pages() >= before, "deleting alone gives nothing back"
    vacuum(store)
    assert pages() <= before - 30
    assert store.create_experiment(spec()).id > made


def test_the_commands(tmp_path: Path) -> None:
    run, data = CliRunner(), tmp_path / "data"
    store = Store.open(f"sqlite:///{data / 'sparsemod.db'}")
    files = ArtifactFiles(data / "artifacts", 10_000)
    filled(store, files)
    store.close()
    place, backup = ["--data-dir", str(data)], str(tmp_path / "b.tar")
    made = run.invoke(app, ["backup", backup, *place])
    assert made.exit_code == 0 and "2 files" in made.output
    with tarfile.open(backup) as tar:
        assert tar.getnames()[0] == "manifest.json"
    assert Path(backup).stat().st_mode & 0o077 == 0  # it contains the hashes of the tokens
    back = run.invoke(app, ["restore", backup, "--data-dir", str(tmp_path / "new")])
    assert back.exit_code == 0 and "restored" in back.output
    assert run.invoke(app, ["doctor", "--content", "--data-dir", str(tmp_path / "new")]).exit_code == 0
    files.path(digest_of(WEIGHTS)).unlink()
    ill = run.invoke(app, ["doctor", *place])
    assert ill.exit_code == 1 and f"missing file: {digest_of(WEIGHTS)}, of trial 1/0" in ill.output
    assert run.invoke(app, ["doctor", "--mend", *place]).exit_code == 0
    assert "agree" in run.invoke(app, ["doctor", *place]).output
    assert run.invoke(app, ["vacuum", *place]).exit_code == 0
