"""Equal content, stored, used and deleted concurrently: a file that the store promised exists."""

import contextlib
import hashlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support_store import Clock, completed, fill, spec

import service.store.files
from service.files.artifacts import ArtifactFiles
from service.http.app import create_app
from service.settings import Settings
from service.store import Store
from service.store.files import STRAY_SECONDS, lock_files
from sparsemod.errors import InvalidInput, NotFound
from sparsemod.records import Artifact

pytest_plugins = ["support_store_fixtures"]

CONTENT = b"the same for all"


@pytest.fixture
def two(database: str) -> Iterator[tuple[Store, Store]]:
    """The store of two server processes."""
    stores = Store.open(database), Store.open(database)
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def files(tmp_path: Path) -> ArtifactFiles:
    return ArtifactFiles(tmp_path / "artifacts", 1_000_000)


def use(store: Store, digest: str) -> int:
    """A new experiment with a trial that refers to the file; the experiment."""
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None and claim.experiment == made
    artifact = Artifact(kind="log", digest=digest, size=len(CONTENT), name="log.txt")
    store.finish(claim.attempt, claim.token, completed(artifacts=(artifact,)))
    return made


@contextlib.contextmanager
def under_way(action: Callable[[Callable[[], None]], Any]) -> Iterator[None]:
    """Run `action` in a thread until it calls its argument, which returns when the block ends."""
    inside, go = threading.Event(), threading.Event()

    def pause() -> None:
        inside.set()
        assert go.wait(60)

    thread = threading.Thread(target=action, args=(pause,))
    thread.start()
    try:
        assert inside.wait(60)
        yield
    finally:
        go.set()
        thread.join()


@contextlib.contextmanager
def waiting(action: Callable[[], Any], found: list[Any]) -> Iterator[None]:
    """Run `action` in a thread, which must not finish before the block ends."""
    thread = threading.Thread(target=lambda: found.append(action()))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive() and not found
    try:
        yield
    finally:
        thread.join(0)


def test_storing_a_file_waits_for_its_deletion(two: tuple[Store, Store], files: ArtifactFiles) -> None:
    one, other = two
    digest = files.add(CONTENT, one).digest
    found: list[Any] = []

    def delete(pause: Callable[[], None]) -> None:
        def remove(digest: str) -> None:
            pause()
            files.remove(digest)

        one.drop([digest], remove)

    with under_way(delete), waiting(lambda: files.add(CONTENT, other), found):
        assert files.has(digest)
    finish(found)
    assert files.has(digest) and one.artifact(digest) == found[0]


def test_deleting_a_file_waits_for_its_storing(two: tuple[Store, Store], files: ArtifactFiles) -> None:
    one, other = two
    digest = files.add(CONTENT, one).digest
    found: list[Any] = []
    with (
        under_way(lambda pause: other.add_artifact(digest, len(CONTENT), pause)),
        waiting(lambda: one.drop([digest], files.remove), found),
    ):
        pass
    finish(found)
    assert found == [0] and files.has(digest)


def test_a_file_without_record_is_not_deleted_while_it_is_stored(
    two: tuple[Store, Store], files: ArtifactFiles
) -> None:
    one, other = two
    digest = files.add(CONTENT, one).digest
    assert one.drop([digest], lambda _: None) == 1  # killed in between: the file exists, its record does not
    found: list[Any] = []

    def delete(pause: Callable[[], None]) -> None:
        def remove(digest: str) -> None:
            pause()
            files.remove(digest)

        assert one.drop_unrecorded([digest], remove) == 1

    with under_way(delete), waiting(lambda: files.add(CONTENT, other), found):
        pass
    finish(found)
    assert files.has(digest) and one.artifact(digest) == found[0]
    assert one.drop_unrecorded([digest], files.remove) == 0 and files.has(digest)


def test_deleting_a_file_waits_for_a_new_reference(two: tuple[Store, Store], files: ArtifactFiles) -> None:
    one, other = two
    digest = files.add(CONTENT, one).digest
    gone = use(one, digest)
    used = one.delete_experiment(gone)
    assert used == [digest]
    found: list[Any] = []

    def refer(pause: Callable[[], None]) -> None:
        made = other.create_experiment(spec()).id
        fill(other, made, 1)
        claim = other.claim("w")
        assert claim is not None
        with other._write() as connection:  # what `checkpoint` does, with a pause before its end
            assert lock_files(connection, [digest])
            connection.exec_driver_sql(f"UPDATE trials SET checkpoint = '{digest}'")
            pause()

    with under_way(refer), waiting(lambda: one.drop(used, files.remove), found):
        pass
    finish(found)
    assert found == [0] and files.has(digest) and one.artifact(digest)


def finish(found: list[Any]) -> None:
    """Wait for the waiting thread."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(60)
    assert found


def test_a_promised_file_stays_for_a_day(store: Store, clock: Clock, files: ArtifactFiles) -> None:
    digest = files.add(CONTENT, store).digest
    first = use(store, digest)
    assert store.ask_artifact(digest) == store.artifact(digest)  # another worker need not upload it
    assert store.drop(store.delete_experiment(first), files.remove) == 0
    second = use(store, digest)
    clock.advance(STRAY_SECONDS / 2)
    files.add(CONTENT, store)  # and a third one does
    clock.advance(STRAY_SECONDS / 2 + 1)
    assert store.drop(store.delete_experiment(second), files.remove) == 0 and files.has(digest)
    clock.advance(STRAY_SECONDS / 2)
    assert store.drop_strays(STRAY_SECONDS, files.remove) == 1 and not files.has(digest)
    with pytest.raises(NotFound):
        store.ask_artifact(digest)


def test_a_lost_file_is_requested_again(tmp_path: Path, files: ArtifactFiles) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path))) as http:
        store: Store = http.app.state.store  # type: ignore[attr-defined]
        digest = files.add(CONTENT, store).digest
        files.remove(digest)
        assert http.head(f"/artifacts/{digest}").status_code == 404
        assert http.put(f"/artifacts/{digest}", content=CONTENT).status_code == 200
        assert http.get(f"/artifacts/{digest}").content == CONTENT


ROUNDS = 12


def _work(url: str, folder: str, number: int, gate: Any) -> list[str]:
    """Experiments with the same file, each deleted when it is finished; what went wrong."""
    # Promises expire at once, so the file comes and goes all the time: a late caller gets an error and
    # sends it again.
    service.store.files.STRAY_SECONDS = -1000.0
    store, files, wrong = Store.open(url), ArtifactFiles(Path(folder), 1_000_000), []
    for turn in range(ROUNDS):
        with gate:  # so that each thread claims a different trial
            made = store.create_experiment(spec()).id
            fill(store, made, 1)
            claim = store.claim(f"w{number}")
        assert claim is not None and claim.experiment == made
        while True:
            info = files.add(CONTENT, store)
            artifact = Artifact(kind="log", digest=info.digest, size=info.size, name="log.txt")
            with contextlib.suppress(InvalidInput):
                store.finish(claim.attempt, claim.token, completed(artifacts=(artifact,)))
                break
        # from now on it exists, whatever the others do
        for _ in range(3):
            if not files.has(info.digest) or store.artifact(info.digest) != info:
                wrong.append(f"worker {number}, turn {turn}: the file is gone")
        store.drop(store.delete_experiment(made), files.remove)
    store.close()
    return wrong


@pytest.mark.long
@pytest.mark.slow
def test_processes_that_store_use_and_delete_the_same_file(database: str, files: ArtifactFiles) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(3) as pool:
        gate = manager.Lock()
        found = pool.starmap(_work, [(database, str(files.root), i, gate) for i in range(3)])
    assert found == [[], [], []]
    store = Store.open(database)
    digest = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert store.experiments()[1] == 0 and store.drop_strays(-1000.0, files.remove) in (0, 1)
    assert not files.has(digest) and store.known_artifacts([digest]) == set()
    assert [path for path in files.root.rglob("*") if path.is_file()] == []
    store.close()
