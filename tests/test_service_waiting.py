"""Nothing waits without end: not for a lock, not for a long statement, not for a thread; health and page answer all the while."""

import asyncio
import os
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa
from support_auth import open_app, store_of
from support_store import SPEC, fill, spec
from support_stream import served

from service.http.app import create_app
from service.http.pools import PLACES, Busy, RequestPool, kind_of
from service.settings import Settings
from service.store import Store
from service.store.tables import experiments
from sparsemod.errors import ServerUnavailable

pytest_plugins = ["support_store_fixtures"]

LIMIT = 0.4


@contextmanager
def locked(store: Store, experiment: int) -> Iterator[None]:
    """Hold the lock of an experiment's row, or of the whole database on SQLite."""
    with store.engine.connect().execution_options(sparsemod_write=True) as connection, connection.begin():
        connection.execute(
            sa.update(experiments).where(experiments.c.id == experiment).values(events=experiments.c.events)
        )
        yield


def test_a_lock_is_waited_for_so_long(database: str) -> None:
    holder, store = Store.open(database), Store.open(database, lock_seconds=LIMIT)
    made = holder.create_experiment(spec()).id
    begin = time.monotonic()
    with locked(holder, made), pytest.raises(ServerUnavailable, match="lock"):
        store.stop(made)
    assert LIMIT / 2 < time.monotonic() - begin < 100
    assert store.stop(made).state == "stopped"
    for one in (holder, store):
        one.close()


def test_a_statement_runs_so_long(database: str) -> None:
    store = Store.open(database, statement_seconds=LIMIT)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    begin = time.monotonic()
    with pytest.raises(ServerUnavailable, match="statement"), store._read() as connection:
        connection.execute(sa.text(endless))
    assert time.monotonic() - begin < 100
    assert store.check(), "the connection is good for the next one"
    store.close()


def test_a_connection_is_waited_for_so_long(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}", lock_seconds=LIMIT)
    held = [store.engine.connect() for _ in range(50)]
    with pytest.raises(ServerUnavailable):
        store.check()
    for connection in held:
        connection.close()
    assert store.check()


@pytest.mark.slow
def test_health_and_page_answer_while_sixty_claims_wait_for_one_row(database: str, tmp_path: Path) -> None:
    store = Store.open(database, lock_seconds=1.0)
    holder = Store.open(database)
    made = store.create_experiment(spec()).id
    fill(store, made, 3)
    with served(create_app(Settings(data_dir=tmp_path, database_url=database), store=store)) as url:
        with locked(holder, made), ThreadPoolExecutor(60) as threads:

            def claim(number: int) -> httpx2.Response:
                return httpx2.post(f"{url}/claims", json={"worker": f"w{number}"}, timeout=60)

            waiting = [threads.submit(claim, number) for number in range(60)]
            time.sleep(0.5)
            for path in ("/health", "/", "/docs", "/dashboard/app.js"):
                begin = time.monotonic()
                status = httpx2.get(f"{url}{path}", timeout=60).status_code
                # SQLite has one lock for all writes: the server then reports that it is not ready.
                assert status == (503 if path == "/health" and store.backend == "sqlite" else 200), path
                assert time.monotonic() - begin < 100, path
            answers = [future.result() for future in waiting]
        assert {answer.status_code for answer in answers} <= {503, 204}
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused and all(answer.headers["retry-after"] == "1" for answer in refused)
        assert httpx2.post(f"{url}/claims", json={"worker": "later"}, timeout=60).status_code == 200
        time.sleep(1.1)
        assert httpx2.get(f"{url}/health", timeout=60).status_code == 200
    for one in (holder, store):
        one.close()


def test_a_pool_bounds_running_and_waiting_requests() -> None:
    async def main() -> None:
        pool = RequestPool("things", 2, wait=0.2, most=3)
        going, peak = threading.Event(), [0, 0]

        def work() -> str:
            peak[0] += 1
            peak[1] = max(peak)
            going.wait(20)
            peak[0] -= 1
            return "done"

        working = [asyncio.create_task(pool.run(work)) for _ in range(2)]
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(pool.run(work)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="3 things are waiting already"):
            await pool.run(work)
        for one in waiting:
            with pytest.raises(Busy, match="too many things"):
                await one
        going.set()
        assert await asyncio.gather(*working) == ["done", "done"] and peak[1] == 2
        assert await pool.run(work) == "done", "the places are free again"

    asyncio.run(main())


def test_waiting_requests_leave_threads_for_short_ones() -> None:
    assert sum(PLACES.values()) < 40, "the threads of the framework"
    for path in (
        "/health",
        "/",
        "/docs",
        "/openapi.json",
        "/dashboard/app.js",
        "/stream",
        "/experiments/3/stream",
        "/artifacts/x",
    ):
        assert kind_of(path) is None, path
    assert kind_of("/claims") == kind_of("/attempts/3/finish") == "requests of workers"
    assert kind_of("/experiments/3/trials", b"limit=1&format=csv") == "requests for tables"
    assert kind_of("/experiments") == kind_of("/pareto/3") == kind_of("/experiments/3/trials") == "requests"


def test_not_ready_without_room_on_the_disk(tmp_path: Path) -> None:
    with open_app(tmp_path / "a") as http:
        assert http.get("/health").json()["free_bytes"] > 0
    with open_app(tmp_path / "b", min_free_bytes=2**60) as http:
        answer = http.get("/health")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert "SPARSEMOD_MIN_FREE_BYTES" in answer.json()["error"]["message"]


def test_not_ready_where_no_file_can_be_written(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        (tmp_path / "artifacts").write_text("a file where the folder should be")
        answer = http.get("/health")
        assert answer.status_code == 503 and "no file can be written" in answer.json()["error"]["message"]


def test_not_ready_where_the_database_takes_no_write(tmp_path: Path) -> None:
    with open_app(tmp_path, database_lock_seconds=LIMIT) as http:
        store = store_of(http)
        made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        holder = Store.open(str(store.engine.url))
        with locked(holder, made):
            assert http.get(f"/experiments/{made}").status_code == 200, "it can be read"
            answer = http.get("/health")
        assert answer.status_code == 503 and "lock" in answer.json()["error"]["message"]
        holder.close()


def test_the_files_of_the_database_are_for_their_owner(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        store = Store.open(f"sqlite:///{tmp_path / 'new' / 'a.db'}")
        store.create_experiment(spec())
        for file in (tmp_path / "new").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert len(list((tmp_path / "new").iterdir())) == 3
        store.close()
        known = tmp_path / "new" / "a.db"
        known.chmod(0o664)
        Store.open(f"sqlite:///{known}").close()
        assert stat.S_IMODE(known.stat().st_mode) == 0o660, "what its owner let the group do stays"
    finally:
        os.umask(mask)
