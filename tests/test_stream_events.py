"""Event streams: every event once and in order, across reconnects, restarts and several servers, at low cost
for many pages."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support_store import completed, fill, point, spec
from support_stream import Stream, served

from service.http import feed
from service.http.app import create_app
from service.schemas.logins import Scope
from service.settings import Settings
from service.store import Store

pytest_plugins = ["support_store_fixtures"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(feed.Feed.__init__, "__kwdefaults__", {"pauses": (0.01, 0.05)})


@pytest.fixture
def real(database: str) -> Iterator[Store]:
    """A store with the true clock, of each database kind."""
    made = Store.open(database)
    yield made
    made.close()


def work(store: Store, experiment: int, trials: int) -> None:
    """Trials from the queue to their end: three events and a point each."""
    fill(store, experiment, trials)
    for _ in range(trials):
        claim = store.claim("w")
        assert claim is not None
        store.points(claim.attempt, claim.token, [point(1)])
        store.finish(claim.attempt, claim.token, completed())


def test_events_arrive_as_they_are_stored(real: Store, tmp_path: Path) -> None:
    made = real.create_experiment(spec()).id
    with served(create_app(Settings(data_dir=tmp_path), store=real)) as url:
        stream = Stream(f"{url}/experiments/{made}/stream?after=0")
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["content-encoding"] == "gzip"
        assert stream.next() == ("experiment", 1, {"state": "running", "change": "created"})
        work(real, made, 2)
        stored = real.events(made, 1)
        assert [stream.next() for _ in stored] == [(e.kind, e.counter, e.data) for e in stored]
        # With `after`, only newer events; without it, events from now on.
        late = Stream(
            f"{url}/experiments/{made}/stream?after={len(stored)}", **{"accept-encoding": "identity"}
        )
        assert late.next()[1] == len(stored) + 1
        now = Stream(f"{url}/experiments/{made}/stream")
        back = Stream(f"{url}/experiments/{made}/stream?after=1", **{"last-event-id": "3"})
        assert back.next()[1] == 4  # the browser's own memory goes before the address
        real.stop(made)
        for one in (late, now, stream):
            assert one.next() == (
                "experiment",
                len(stored) + 2,
                {"state": "stopped", "reason": "stopped by the user"},
            )
        for one in (late, now, stream, back):
            one.close()


def test_an_event_of_one_server_reaches_the_pages_of_another(
    real: Store, database: str, tmp_path: Path
) -> None:
    made = real.create_experiment(spec()).id
    other = Store.open(database)
    first, second = (create_app(Settings(data_dir=tmp_path), store=store) for store in (real, other))
    with served(first) as one, served(second) as two:
        streams = [Stream(f"{url}/experiments/{made}/stream?after=0") for url in (one, two) for _ in range(2)]
        work(other, made, 1)
        httpx2.post(f"{one}/experiments/{made}/stop").raise_for_status()
        count = real.experiment(made).revision
        for stream in streams:
            assert stream.take(count) == list(range(1, count + 1))
            stream.close()
    other.close()


def test_a_page_that_comes_back_misses_nothing_and_gets_nothing_twice(database: str, tmp_path: Path) -> None:
    seen: list[int] = []
    total = 30 * 4 + 1
    writer = Store.open(database)
    made = writer.create_experiment(spec()).id
    thread = threading.Thread(target=work, args=(writer, made, 30))
    lives = 0
    while len(seen) < total:
        store = Store.open(database)
        # Three times in a row, a server ends and a new one without its memory starts.
        with served(create_app(Settings(data_dir=tmp_path), store=store)) as url:
            if lives == 0:
                thread.start()
            lives += 1
            while len(seen) < min(total, lives * total // 3 + 1):
                last = {"last-event-id": str(seen[-1])} if seen else {}
                stream = Stream(f"{url}/experiments/{made}/stream?after=0", **last)
                seen += stream.take(min(7, total - len(seen)))
                stream.close()
        store.close()
    thread.join()
    assert seen == list(range(1, total + 1)) and lives >= 3
    writer.close()


def test_a_page_far_behind_catches_up(real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HELD", 5)
    monkeypatch.setattr(feed, "BATCH", 7)
    made = real.create_experiment(spec()).id
    with served(create_app(Settings(data_dir=tmp_path), store=real)) as url:
        first = Stream(f"{url}/experiments/{made}/stream")  # keeps the ring, which holds five events
        fill(real, made, 40)
        assert first.take(40) == list(range(2, 42))
        behind = Stream(f"{url}/experiments/{made}/stream?after=3")
        assert behind.take(38) == list(range(4, 42))
        # A counter that was never reached: of another database, perhaps.
        beyond = Stream(f"{url}/experiments/{made}/stream?after=900")
        assert beyond.next() == ("reset", 41, {})
        for stream in (first, behind, beyond):
            stream.close()


def test_a_silent_stream_sends_heartbeats_and_ends_with_the_experiment(real: Store, tmp_path: Path) -> None:
    made = real.create_experiment(spec()).id
    with served(create_app(Settings(data_dir=tmp_path), store=real)) as url:
        assert httpx2.get(f"{url}/experiments/77/stream").status_code == 404
        stream = Stream(f"{url}/experiments/{made}/stream")
        for line in stream._lines:
            if line.startswith(":"):
                break
        httpx2.delete(f"{url}/experiments/{made}").raise_for_status()
        assert stream.next() == ("experiment", None, {"deleted": True})
        with pytest.raises(EOFError):
            stream.next()
        assert httpx2.get(f"{url}/experiments/{made}/stream").status_code == 404
        stream.close()


def test_the_stream_of_all_experiments(real: Store, tmp_path: Path) -> None:
    first = real.create_experiment(spec()).id
    with served(create_app(Settings(data_dir=tmp_path), store=real)) as url:
        stream = Stream(f"{url}/stream")
        assert stream.next() == ("revisions", None, {str(first): 1})
        second = real.create_experiment(spec()).id
        assert stream.next() == ("experiment", None, {"id": second, "revision": 1, "state": "running"})
        real.stop(first)
        real.delete_experiment(second)
        found = [stream.next()[2], stream.next()[2]]
        assert {"id": first, "revision": 2, "state": "stopped"} in found and {
            "id": second,
            "deleted": True,
        } in found
        stream.close()


def test_many_pages_cost_one_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(Settings(data_dir=tmp_path).url)
    made = store.create_experiment(spec()).id
    asked: list[Any] = []
    revisions, events = store.revisions, store.events
    monkeypatch.setattr(store, "revisions", lambda *a: (asked.append("revisions"), revisions(*a))[1])
    monkeypatch.setattr(store, "events", lambda *a: (asked.append("events"), events(*a))[1])
    with served(create_app(Settings(data_dir=tmp_path), store=store)) as url:
        streams = [Stream(f"{url}/experiments/{made}/stream") for _ in range(12)]
        asked.clear()
        real_stop = store.stop(made)
        assert real_stop.revision == 2
        for stream in streams:
            assert stream.take(1) == [2]
        assert asked.count("events") == 1  # one query for all of them
        for stream in streams:
            stream.close()
    store.close()


def test_a_stream_ends_with_its_time_and_its_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LONGEST_SECONDS", 0.3)
    store = Store.open(Settings(data_dir=tmp_path).url)
    made = store.create_experiment(spec()).id
    secret, token = store.create_token("me", [Scope.READ])
    with served(create_app(Settings(data_dir=tmp_path), store=store)) as url:
        where, shown = f"{url}/experiments/{made}/stream", {"authorization": f"Bearer {secret}"}
        stream = Stream(where, **shown)
        with pytest.raises(EOFError):  # a browser reconnects, and the stream checks again
            stream.next()
        stream.close()
        store.revoke_token(token.token)
        assert httpx2.get(where, headers=shown).status_code == 401
    store.close()
