"""Many concurrent workers and suggesters: every trial is handed out once, every index assigned once, every
event counted once."""

import contextlib
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support_store import completed, fill, spec, suggestions

from service.store import Store
from sparsemod.errors import StaleLease
from sparsemod.records import TrialState

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
