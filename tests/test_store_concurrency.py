"""Many concurrent workers and suggesters: every trial is handed out once, every index assigned once, every
event counted once."""

import contextlib
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from support_kill import until
from support_postgres import Postgres
from support_store import completed, fault, fill, spec, suggestions

from service.store import Store, engine
from sparsemod.errors import StaleLease
from sparsemod.records import TrialResult, TrialState

pytest_plugins = ["support_store_fixtures"]


TRIALS = 500


def _work(url: str, worker: str) -> list[int]:
    """Claim and finish until nothing is left; the indices."""
    store = Store.open(url)
    done = []
    while (claim := store.claim(worker)) is not None:
        store.finish(claim.attempt, claim.token, completed(error=1.0 / (2 + claim.trial)))
        done.append(claim.trial)
    store.close()
    return done


@pytest.mark.long
@pytest.mark.slow
def test_three_processes_do_every_trial_once(database: str) -> None:
    store = Store.open(database)
    made = store.create_experiment(spec()).id
    fill(store, made, TRIALS)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        parts = pool.starmap(_work, [(database, f"w{i}") for i in range(3)])
    assert sorted(index for part in parts for index in part) == list(range(TRIALS))
    assert store.experiment(made).counts[TrialState.COMPLETED] == TRIALS
    assert all(len(store.trial(made, index).attempts) == 1 for index in range(0, TRIALS, 50))
    counters = []
    while more := store.events(made, after=counters[-1] if counters else 0):
        counters += [event.counter for event in more]
    assert counters == list(range(1, 1 + 1 + 3 * TRIALS))
    assert len(store.pareto(made).history) == TRIALS
    store.close()


def test_threads_that_claim_queue_attach_stop_and_read(database: str) -> None:
    store = Store.open(database)
    made = store.create_experiment(spec()).id
    busy = threading.Event()

    def suggest(name: str) -> int:
        queued = 0
        for _ in range(15):
            lease = store.lease_suggester(made, name, seconds=0.0 if name == "hasty" else 60.0)
            if lease is None:
                continue
            with contextlib.suppress(StaleLease):
                queued += len(store.queue(lease, suggestions(4)))
            store.release_suggester(lease)
        return queued

    def attach(_: str) -> int:
        return sum(1 for i in range(10) if store.attach(made, {"width": i}) is not None)

    def work(name: str) -> int:
        done = 0
        while (claim := store.claim(name)) is not None or not busy.is_set():
            if claim is not None:
                store.finish(claim.attempt, claim.token, completed())
                done += 1
        return done

    def switch(_: str) -> int:
        for _ in range(5):
            store.stop(made)
            store.pareto(made)
            store.resume(made)
        return 0

    with ThreadPoolExecutor(8) as pool:
        makers = [pool.submit(suggest, name) for name in ("hasty", "other")] + [pool.submit(attach, "")]
        workers = [pool.submit(work, f"w{i}") for i in range(3)]
        switcher = pool.submit(switch, "")
        queued = sum(future.result() for future in makers)
        switcher.result()
        busy.set()
        assert sum(future.result() for future in workers) == queued
    assert [record.index for record in store.observations(made)] == list(range(queued))
    assert len(store.pareto(made).history) == queued
    store.close()


WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.mark.parametrize("report", [fault("no memory"), TrialResult(state=TrialState.STOPPED)])
@pytest.mark.parametrize(
    "change",
    ["UPDATE experiments SET state = 'failed'", "UPDATE trials SET stop_requested = true"],
)
def test_a_trial_is_not_queued_again_by_a_report_that_waited_for_its_stop(
    postgres: Postgres, change: str, report: TrialResult
) -> None:
    """On SQLite a report waits before its first statement, because there is one writer only."""
    store = Store.open(postgres.database())
    made = store.create_experiment(spec()).id
    fill(store, made)
    claim = store.claim("w")
    assert claim is not None
    with ThreadPoolExecutor(1) as pool, store.engine.connect() as other:
        other.exec_driver_sql(change)
        reported = pool.submit(store.finish, claim.attempt, claim.token, report)
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as looker:
            until(lambda: looker.execute(WAITING).scalar_one() == 1, 30, "the report")
        other.commit()
        assert reported.result().state is TrialState.STOPPED
    assert store.trial(made, claim.trial).state is TrialState.STOPPED
    store.close()


def test_connections_that_the_server_closed_are_replaced(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of PostgreSQL: an idle connection is tested before its next use."""
    monkeypatch.setattr(engine, "IDLE_SECONDS", 0.0)
    url = postgres.database()
    store = Store.open(url)
    assert not store.closed()
    with postgres.connect() as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        assert connection.execute(ended, [sa.make_url(url).database]).fetchall() == [(True,)]
    assert store.check() == engine.HEAD
    store.close()
