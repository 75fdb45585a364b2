"""Files that nothing refers to: from uploads without a report, from older checkpoints, from uploads that broke off. They go; others stay."""

import os
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support_auth import open_app, store_of
from support_store import Clock, completed, fill, spec, stored_artifact

from service.artifacts import ArtifactFiles
from service.events import STRAY_SECONDS, Housekeeping
from service.store import Store
from sparsemod.records import Artifact

pytest_plugins = ["support_store_fixtures"]

DAY = 86_400.0


def files_of(folder: Path) -> ArtifactFiles:
    return ArtifactFiles(folder, 1_000_000)


def aged(files: ArtifactFiles, content: bytes) -> str:
    """Stored, and then left alone for two days."""
    digest = files.store(content)
    old = time.time() - 2 * DAY
    os.utime(files.path(digest), (old, old))
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
    assert store.forget_strays(DAY) == 0
    clock.advance(DAY + 1)
    store.add_artifact(stray, 1)  # uploaded again: as young as a new one
    assert store.forget_strays(DAY) == 1
    assert store.known_artifacts(everything) == {second, result.digest, stray}
    clock.advance(DAY + 1)
    assert store.forget_strays(DAY) == 1
    assert store.known_artifacts(everything) == {second, result.digest}


def test_files_without_a_record_go(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    kept, gone = aged(files, b"kept"), aged(files, b"gone")
    young = files.store(b"young")
    for name in (".upload-1", ".upload-2"):
        (files.path(young).parent / name).write_bytes(b"half")
    old = time.time() - 2 * DAY
    os.utime(files.path(young).parent / ".upload-1", (old, old))
    assert files.sweep(DAY, {kept}.intersection) == 2
    assert files.has(kept) and files.has(young) and not files.has(gone)
    assert [path.name for path in tmp_path.rglob(".*")] == [".upload-2"]


def test_a_file_that_is_uploaded_again_meanwhile_stays(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    first, second = files.store(b"first"), files.store(b"second")
    # Its record is made while the file is aside.
    assert files.remove([first, second], lambda digests: {first}) == 1
    assert files.has(first) and not files.has(second)
    assert files.remove([second], lambda digests: set()) == 0
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_upload_whose_file_was_just_deleted_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_app(tmp_path) as http:
        digest = files_of(tmp_path).store(b"x")
        files: ArtifactFiles = http.app.state.files  # type: ignore[attr-defined]
        monkeypatch.setattr(files, "has", lambda digest: False)
        assert http.put(f"/artifacts/{digest}", content=b"x").status_code == 503
        monkeypatch.undo()
        assert http.put(f"/artifacts/{digest}", content=b"x").status_code == 200


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
