"""Files that nothing refers to: from uploads without a report, from older checkpoints, from uploads that broke off. They go; others stay."""

import hashlib
import os
import time
from pathlib import Path

from starlette.testclient import TestClient
from support_auth import open_app, store_of
from support_store import Clock, completed, fill, spec, stored_artifact

from service.files.artifacts import ArtifactFiles
from service.http.housekeeping import Housekeeping
from service.store import Store
from service.store.files import STRAY_SECONDS
from sparsemod.records import Artifact

pytest_plugins = ["support_store_fixtures"]

DAY = 86_400.0


def aged(files: ArtifactFiles, content: bytes) -> str:
    """A file without a record, as a server leaves it that is killed just then, left alone for two days."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = files.path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    old = time.time() - 2 * DAY
    os.utime(path, (old, old))
    return digest


def test_records_that_nothing_refers_to_are_forgotten(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    first, second = (stored_artifact(store, content).digest for content in (b"older", b"newer"))
    result = stored_artifact(store, b"result")
    stray = stored_artifact(store, b"of a worker that died").digest
    claim = store.claim("w")
    assert claim is not None
    store.finish(claim.attempt, claim.token, completed(artifacts=(result,)))
    claim = store.claim("w")
    assert claim is not None
    for digest in (first, second):
        store.checkpoint(claim.attempt, claim.token, digest)
    everything = [first, second, result.digest, stray]
    removed: list[str] = []
    assert store.drop_strays(DAY, removed.append) == 0
    clock.advance(DAY + 1)
    store.add_artifact(stray, 1)  # uploaded again: as young as a new one
    assert store.drop_strays(DAY, removed.append) == 1
    assert store.known_artifacts(everything) == {second, result.digest, stray}
    clock.advance(DAY + 1)
    assert store.drop_strays(DAY, removed.append) == 1
    assert store.known_artifacts(everything) == {second, result.digest}
    assert removed == [first, stray]


def test_files_without_a_record_go(store: Store, tmp_path: Path) -> None:
    files = ArtifactFiles(tmp_path / "artifacts", 1_000_000)
    kept, gone = aged(files, b"kept"), aged(files, b"gone")
    store.add_artifact(kept, 4)
    young = files.add(b"young", store).digest
    for name in (".upload-1", ".upload-2"):
        (files.path(young).parent / name).write_bytes(b"half")
    old = time.time() - 2 * DAY
    os.utime(files.path(young).parent / ".upload-1", (old, old))
    assert Housekeeping(store, files, pause=1.0).sweep() == 1
    assert files.has(kept) and files.has(young) and not files.has(gone)
    assert [path.name for path in tmp_path.rglob(".*")] == [".upload-2"]
    assert store.known_artifacts([kept, young, gone]) == {kept, young}


def test_the_server_sweeps(tmp_path: Path) -> None:
    http: TestClient
    with open_app(tmp_path) as http:
        store = store_of(http)
        files: ArtifactFiles = http.app.state.files  # type: ignore[attr-defined]
        fill(store, store.create_experiment(spec()).id, 1)
        claim = store.claim("w")
        assert claim is not None
        used, stray = aged(files, b"used"), aged(files, b"stray")
        for digest in (used, stray):
            store.add_artifact(digest, 4)
        artifact = Artifact(kind="log", digest=used, size=4, name="log.txt")
        store.finish(claim.attempt, claim.token, completed(artifacts=(artifact,)))
        housekeeping = Housekeeping(store, files, pause=1.0)
        assert housekeeping.sweep() == 0  # its record is young
        store.clock = lambda: time.time() + STRAY_SECONDS + 1
        assert housekeeping.sweep() == 1 and files.has(used) and not files.has(stray)
        assert http.get(f"/artifacts/{used}").content == b"used"
