"""Export jobs on both databases: queued once, held by one server, taken over, abandoned, deleted with their
experiment."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from support_store import Clock, completed, fill, spec, stored_artifact

from service.schemas.exports import ExportState
from service.store import ExportJob, Store
from service.store.exports import MAX_WAITING, MOST_ATTEMPTS
from service.store.tables import export_jobs
from sparsemod.errors import Conflict, NotFound, StaleLease
from sparsemod.records import Artifact

pytest_plugins = ["support_store_fixtures"]

QUEUED, RUNNING, DONE, FAILED = ExportState


def ready(store: Store, trials: int = 1) -> int:
    """An experiment whose trials are completed."""
    made = store.create_experiment(spec()).id
    fill(store, made, trials)
    for _ in range(trials):
        claim = store.claim("w")
        assert claim is not None
        store.finish(claim.attempt, claim.token, completed())
    return made


def claimed(store: Store, server: str = "one") -> ExportJob:
    job = store.claim_export(server)
    assert job is not None
    return job


def states(store: Store, experiment: int) -> dict[tuple[int, str], ExportState]:
    return {key: record.state for key, record in store.exports(experiment).items()}


def reports(store: Store, job: ExportJob, files: Sequence[Artifact]) -> list[Callable[[], None]]:
    """Return all calls that only the holder of a job may make."""
    return [
        lambda: store.renew_export(job),
        lambda: store.finish_export(job, files),
        lambda: store.fail_export(job, "too late", again=True),
    ]


def test_a_job_from_queue_to_files(store: Store) -> None:
    made = ready(store, 2)
    revision = store.experiment(made).revision
    store.queue_exports(made, [1, 0], ["c", "onnx"], "stm32f446")
    assert states(store, made) == {(i, f): QUEUED for i in (0, 1) for f in ("c", "onnx")}
    job = claimed(store)
    assert (job.experiment, job.trial, job.formats, job.device) == (made, 1, ("c", "onnx"), "stm32f446")
    assert states(store, made) == {
        (1, "c"): RUNNING, (1, "onnx"): RUNNING, (0, "c"): QUEUED, (0, "onnx"): QUEUED,
    }  # fmt: skip
    files = [
        stored_artifact(store, b"zip", "export.c", "c.zip"),
        stored_artifact(store, b"md", "card", "card.md"),
    ]
    store.finish_export(job, files)
    assert states(store, made)[1, "c"] is DONE and list(store.exports(made, 0)) == [(0, "c"), (0, "onnx")]
    assert {a.digest for a in store.trial(made, 1).artifacts} == {f.digest for f in files}
    (event,) = store.events(made, revision)
    assert (event.kind, event.data) == ("trial", {"index": 1, "files": 2})
    with pytest.raises(StaleLease, match="has ended: done"):
        store.finish_export(job, files)
    # A new file replaces the old one of the same kind and name.
    store.queue_exports(made, [1], ["c"], "stm32f446")
    assert claimed(store).trial == 0
    again = stored_artifact(store, b"zip 2", "export.c", "c.zip")
    store.finish_export(claimed(store), [again])
    assert {a.digest for a in store.trial(made, 1).artifacts} == {again.digest, files[1].digest}
    assert store.claim_export("one") is None


def test_nothing_is_queued_twice(store: Store) -> None:
    made = ready(store, 2)
    store.queue_exports(made, [0, 0], ["c", "c"], "stm32f446")
    store.queue_exports(made, [0], ["c"], "stm32f446")
    store.queue_exports(made, [0], ["onnx", "c"], "stm32f446")
    jobs = [claimed(store), claimed(store)]
    assert [job.formats for job in jobs] == [("c",), ("onnx",)]
    store.queue_exports(made, [0, 1], ["c"], "stm32f446")  # running counts, too
    assert claimed(store).trial == 1
    assert store.claim_export("one") is None
    # Finished jobs without visible files do not accumulate.
    for job in jobs:
        store.finish_export(job, [])
    for _ in range(3):
        store.queue_exports(made, [0], ["c", "onnx"], "stm32f446")
        store.finish_export(claimed(store), [])
    store.queue_exports(made, [0], ["onnx"], "stm32f446")
    store.finish_export(claimed(store), [])
    with store.engine.connect() as connection:
        kept = connection.execute(sa.select(export_jobs.c.formats).order_by(export_jobs.c.id)).scalars()
        assert list(kept) == [["c"], ["c", "onnx"], ["onnx"]]  # the first is that of the other trial


def test_exports_that_cannot_be_queued(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready(store, 3)
    for experiment, index in ((made, 7), (made + 1, 0)):
        with pytest.raises(NotFound):
            store.queue_exports(experiment, [0, index], ["c"], "stm32f446")
    assert store.exports(made) == {} and store.exports(made + 1) == {}
    assert MAX_WAITING == 100
    monkeypatch.setattr("service.store.exports.MAX_WAITING", 2)
    store.queue_exports(made, [0, 1], ["c"], "stm32f446")  # one request for two trials
    store.queue_exports(made, [2], ["c"], "stm32f446")
    with pytest.raises(Conflict, match="2 export requests are waiting already; try again later"):
        store.queue_exports(made, [0], ["onnx"], "stm32f446")
    store.queue_exports(made, [0, 1, 2], ["c"], "stm32f446")  # adds nothing
    claimed(store), claimed(store)
    store.queue_exports(made, [0], ["onnx"], "stm32f446")


def test_a_lost_lease_is_taken_over_and_the_stale_result_refused(store: Store, clock: Clock) -> None:
    made = ready(store)
    store.queue_exports(made, [0], ["c"], "stm32f446")
    stale = claimed(store, "one")
    assert store.claim_export("two") is None
    clock.advance(50)
    store.renew_export(stale)
    clock.advance(50)
    assert store.claim_export("two") is None and store.reap_exports() == 0
    clock.advance(11)
    job = claimed(store, "two")
    assert job.id == stale.id and job.token != stale.token
    late = stored_artifact(store, b"late", "export.c", "c.zip")
    before = store.experiment(made).revision
    for report in reports(store, stale, [late]):
        with pytest.raises(StaleLease, match="token does not match"):
            report()
    store.release_export(stale)
    assert states(store, made) == {(0, "c"): RUNNING} and store.trial(made, 0).artifacts == ()
    assert store.experiment(made).revision == before
    store.finish_export(job, [stored_artifact(store, b"good", "export.c", "c.zip")])
    assert [a.digest for a in store.trial(made, 0).artifacts] != [late.digest]


def test_a_late_result_counts_until_another_server_takes_over(store: Store, clock: Clock) -> None:
    made = ready(store)
    store.queue_exports(made, [0], ["c"], "stm32f446")
    job = claimed(store)
    clock.advance(1000)
    store.finish_export(job, [])
    assert store.reap_exports() == 0 and states(store, made) == {(0, "c"): DONE}


def test_an_export_that_kills_its_server_is_abandoned(store: Store, clock: Clock) -> None:
    made = ready(store, 2)
    store.queue_exports(made, [0, 1], ["c"], "stm32f446")
    taken = []
    for attempt in range(MOST_ATTEMPTS):
        taken.append(claimed(store, f"server {attempt}").trial)
        clock.advance(61)
        assert store.reap_exports() == 1
        if attempt == 0:  # jobs that have crashed queue behind the others
            store.finish_export(claimed(store), [])
    assert taken == [0] * MOST_ATTEMPTS and store.claim_export("one") is None
    record = store.exports(made, 0)[0, "c"]
    assert record.state is FAILED and record.failure is not None
    assert record.failure == (
        "server 'server 2', which ran it, sent nothing for 61 s; given up after 3 attempts"
    )
    assert store.events(made)[-1].data == {"index": 0, "files": 0}
    store.queue_exports(made, [0], ["c"], "stm32f446")  # requested again, it gets the full number of attempts
    assert store.exports(made, 0)[0, "c"].state is QUEUED
    for _ in range(MOST_ATTEMPTS):
        store.fail_export(claimed(store), "out of\x00memory", again=True)
    failure = store.exports(made, 0)[0, "c"].failure
    assert failure is not None and failure.startswith("out of\N{REPLACEMENT CHARACTER}memory; given up after")


def test_failing_for_good_and_giving_back(store: Store) -> None:
    made = ready(store)
    store.queue_exports(made, [0], ["tflite"], "stm32f446")
    for _ in range(2 * MOST_ATTEMPTS):  # a server that ends in order costs no attempt
        store.release_export(claimed(store))
        assert states(store, made) == {(0, "tflite"): QUEUED}
    store.fail_export(claimed(store), "no data", again=False)
    record = store.exports(made)[0, "tflite"]
    assert (record.state, record.failure) == (FAILED, "no data")


def test_files_that_are_not_stored(store: Store) -> None:
    made = ready(store)
    store.queue_exports(made, [0], ["c"], "stm32f446")
    job = claimed(store)
    missing = Artifact(kind="export.c", name="c.zip", size=3, digest="sha256:" + "0" * 64)
    with pytest.raises(NotFound, match="artifact"):
        store.finish_export(job, [stored_artifact(store, b"there"), missing])
    assert states(store, made) == {(0, "c"): RUNNING} and store.trial(made, 0).artifacts == ()


def test_deleting_an_experiment_deletes_its_jobs(store: Store) -> None:
    first, second = ready(store, 2), ready(store)
    store.queue_exports(first, [0, 1], ["c"], "stm32f446")
    store.queue_exports(second, [0], ["c"], "stm32f446")
    held = claimed(store)
    store.delete_experiment(first)
    for report in reports(store, held, []):
        with pytest.raises(NotFound, match="export job"):
            report()
    store.release_export(held)
    assert claimed(store).experiment == second and store.claim_export("one") is None
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(export_jobs)).scalar() == 1


def test_servers_that_queue_claim_and_delete_at_once_do_every_job_once(database: str) -> None:
    stores = [Store.open(database) for _ in range(3)]
    made, gone = ready(stores[0], 12), ready(stores[0], 4)
    done: list[tuple[int, int, str]] = []
    failures: list[BaseException] = []

    stores[0].queue_exports(gone, range(4), ["c"], "stm32f446")

    def work(store: Store, name: str) -> None:
        for formats in (["c"], ["onnx"], ["c", "onnx"]):
            store.queue_exports(made, range(12), formats, "stm32f446")  # type: ignore[arg-type]
        if name == "0":
            store.delete_experiment(gone)
        while (job := store.claim_export(name)) is not None:
            finish(store, job, done)

    def guarded(store: Store, name: str) -> None:
        try:
            work(store, name)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(store, str(i))) for i, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    mine = sorted((index, name) for experiment, index, name in done if experiment == made)
    assert sorted(set(mine)) == [(i, f) for i in range(12) for f in ("c", "onnx")]
    assert set(states(stores[0], made).values()) == {DONE}
    counters = [event.counter for event in stores[0].events(made)]
    assert counters == list(range(1, len(counters) + 1))
    for store in stores:
        store.close()


def finish(store: Store, job: ExportJob, done: list[Any]) -> None:
    files: Sequence[Artifact] = [stored_artifact(store, b"same for all", "card", "card.md")]
    try:
        store.finish_export(job, files)
    except NotFound as error:
        assert error.kind == "export job"  # deleted with its experiment
        return
    done += [(job.experiment, job.trial, name) for name in job.formats]
