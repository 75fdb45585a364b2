"""Webhooks: what is queued for which change, deliveries and retries, receivers of the settings, access, commands."""

import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of
from support_receiver import Receiver, receiving
from support_store import SPEC, Clock, Suggestion, completed, fault, fill, spec
from typer.testing import CliRunner

from service.cli import app
from service.cli.token import ScopeName
from service.cli.webhook import EventName
from service.client.client import Client
from service.files.webhook_request import DeliveryFailed, post, signature
from service.jobs import webhooks as webhook_jobs
from service.jobs.webhooks import WebhookJobs
from service.schemas.logins import Scope
from service.schemas.trials import ExperimentState
from service.schemas.webhooks import DeliveryState, WebhookEvent
from service.settings import Settings
from service.store import Store
from service.store import webhooks as webhook_store
from service.store.trial_rows import values_by_trial
from service.store.webhook_deliveries import ATTEMPTS, LOG_SECONDS
from sparsemod.errors import Conflict, InvalidInput, NotFound
from sparsemod.records import Candidate

pytest_plugins = ["support_store_fixtures"]

URL = "https://ci.example/hook"
ALL = tuple(WebhookEvent)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def trial(store: Store, made: int, width: int, result: Any) -> None:
    fill(store, made, [Suggestion(Candidate(parameters={"width": width}, origin="sobol", round="r1"))])
    claim = store.claim("w")
    assert claim is not None
    store.finish(claim.attempt, claim.token, result)


def bodies(store: Store, number: int) -> list[dict[str, Any]]:
    return [one.body for one in reversed(store.deliveries(number))]


def test_each_change_is_queued_once(store: Store, database: str, clock: Clock) -> None:
    made = store.create_experiment(spec(limits={"attempts": 1}), owner="ada").id
    trial(store, made, 0, completed(0.5, 500.0))  # before the registration
    hook = store.add_webhook(URL, ALL, owner="ada").id
    other = store.add_webhook(URL, ALL, owner="bob").id
    some = store.add_webhook(URL, [WebhookEvent.EXPERIMENT_FINISHED], experiment=made).id
    trial(store, made, 1, completed(0.6, 600.0))  # dominated
    trial(store, made, 2, completed(0.1, 100.0))  # dominates trial 0
    trial(store, made, 3, fault())
    second = Store.open(database, clock=clock)  # another server, and then one after a restart
    assert store.queue_deliveries() == 4 and second.queue_deliveries() == 0
    store.finish_experiment(made, ExperimentState.DONE, "all rounds are complete")
    store.keep(made, True)  # an event in the state `done`, but no end
    new = store.create_experiment(spec(), owner="ada").id
    trial(store, new, 0, completed())
    assert second.queue_deliveries() == 4 and store.queue_deliveries() == 0
    second.close()
    found = [
        (body["event"], body["experiment"], body.get("trial"), body.get("front"))
        for body in bodies(store, hook)
    ]
    assert found == [
        ("trial.completed", made, 1, None), ("trial.completed", made, 2, None), ("trial.failed", made, 3, None),
        ("front.changed", made, None, [2]), ("experiment.finished", made, None, None),
        ("trial.completed", new, 0, None), ("front.changed", new, None, [0]),
    ]  # fmt: skip
    moved = next(body for body in bodies(store, hook) if body["event"] == "front.changed")
    assert (moved["added"], moved["removed"], moved["name"]) == ([2], [0], "store test")
    finished = bodies(store, some)
    assert [(body["event"], body["reason"]) for body in finished] == [
        ("experiment.finished", "all rounds are complete")
    ]
    assert bodies(store, other) == []
    store.delete_experiment(made)
    assert store.queue_deliveries() == 0 and len(bodies(store, hook)) == 7
    with pytest.raises(NotFound):
        store.webhook(some)  # it was for that experiment only


@pytest.mark.parametrize("new", [False, True])
def test_two_servers_that_read_the_same_events_queue_them_once(
    store: Store, database: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, new: bool
) -> None:
    """`new`: the experiment was created after the registration, so it has no cursor yet."""
    made = store.create_experiment(spec()).id
    hook = store.add_webhook(URL, [WebhookEvent.TRIAL_COMPLETED]).id
    if new:
        made = store.create_experiment(spec()).id
    trial(store, made, 0, completed())
    second = Store.open(database, clock=clock)
    write, found = store._write, []

    def late() -> Any:
        if not found:  # the other one is faster, after this one has read
            found.append(second.queue_deliveries())
        return write()

    monkeypatch.setattr(store, "_write", late)
    assert store.queue_deliveries() == 0 and found == [1]
    second.close()
    assert [body["trial"] for body in bodies(store, hook)] == [0]


def test_a_front_grows_from_the_front_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front is that of all trials, but a step reads only the front and the new trials."""
    made = store.create_experiment(spec()).id
    hook = store.add_webhook(URL, [WebhookEvent.FRONT_CHANGED]).id
    read: list[int] = []

    def counted(*where: Any) -> dict[int, dict[str, float]]:
        found = values_by_trial(*where)
        read.append(len(found))
        return found

    monkeypatch.setattr(webhook_store, "values_by_trial", counted)
    trial(store, made, 0, completed(0.0, 1200.0))  # over the budget until step 4
    draw = random.Random(0)
    width, fronts = 1, [0]
    for step in range(8):
        for _ in range(5):
            trial(store, made, width, completed(draw.random(), draw.uniform(100.0, 1200.0)))
            width += 1
        if step == 4:
            store.extend(made, {"r1": 100}, {"model_size": 1300.0})
        read.clear()
        store.queue_deliveries()
        front = sorted(one.index for one in store.pareto(made).points)
        assert bodies(store, hook)[-1]["front"] == front
        if step not in (0, 4):
            assert read == [fronts[-1] + 5]
        fronts.append(len(front))
    assert 0 in front and width > 2 * max(fronts)


def test_a_full_queue_leaves_the_events_in_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_store, "MOST_WAITING", 2)
    monkeypatch.setattr(webhook_store, "_EVENTS_READ", 3)
    made = store.create_experiment(spec()).id
    hook = store.add_webhook(URL, [WebhookEvent.TRIAL_COMPLETED]).id
    for width in range(4):
        trial(store, made, width, completed())
    for _ in range(10):
        store.queue_deliveries()
    assert 2 <= len(bodies(store, hook)) <= 3
    while (taken := store.take_webhook(60.0)) is not None:
        while (due := store.next_delivery(*taken, 60.0)) is not None:
            store.end_attempt(due, 204, None)
        store.release_webhook(*taken)
        store.queue_deliveries()
    assert [body["trial"] for body in bodies(store, hook)] == [0, 1, 2, 3]


def test_a_failed_delivery_waits_longer_each_time_and_nothing_overtakes_it(
    store: Store, clock: Clock
) -> None:
    hook = store.add_webhook(URL, ALL).id
    first, second = store.ping_webhook(hook).id, store.ping_webhook(hook).id
    pauses = []
    for attempt in range(1, ATTEMPTS + 1):
        taken = store.take_webhook(60.0)
        assert taken is not None and store.take_webhook(60.0) is None  # one process at a time
        due = store.next_delivery(*taken, 60.0)
        assert due is not None and due.id == first and due.attempts == attempt - 1
        state = store.end_attempt(due, 500, "the receiver answered 500")
        assert state is (DeliveryState.FAILED if attempt == ATTEMPTS else DeliveryState.WAITING)
        assert store.next_delivery(*taken, 60.0) is None
        store.release_webhook(*taken)
        view = store.webhook(hook)
        if view.retry_at is not None:
            pauses.append(view.retry_at.timestamp() - clock.now)
            clock.advance(pauses[-1] - 1.0)
            assert store.take_webhook(60.0) is None
            clock.advance(2.0)
    assert pauses[:3] == [10.0, 20.0, 40.0] and max(pauses) == 6 * 3600.0 and sum(pauses) > 12 * 3600.0
    disabled = store.webhook(hook).disabled
    assert disabled is not None and "failed 14 times, the last time: the receiver answered 500" in disabled
    assert store.take_webhook(60.0) is None
    assert store.enable_webhook(hook).disabled is None
    taken = store.take_webhook(60.0)
    assert taken is not None
    due = store.next_delivery(*taken, 60.0)
    assert due is not None and due.id == second
    clock.advance(61.0)  # this process died: another one takes over, and the first one's end counts no more
    other = store.take_webhook(60.0)
    assert other is not None and store.next_delivery(*taken, 60.0) is None
    store.end_attempt(due, 204, None)
    again = store.next_delivery(*other, 60.0)
    assert again is not None and again.id == second
    store.end_attempt(again, 204, None)
    assert [one.state for one in store.deliveries(hook)] == [DeliveryState.DELIVERED, DeliveryState.FAILED]
    clock.advance(LOG_SECONDS + 1)
    assert store.forget_deliveries() == 2


def test_the_server_delivers_and_tries_again(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that fails first; deliveries that a stopped server left are sent by the next one."""
    monkeypatch.setattr("service.store.webhook_deliveries.BACKOFF_SECONDS", (0.05, 0.1))
    monkeypatch.setattr("service.jobs.webhooks.PAUSE_SECONDS", 0.05)
    store = Store.open(f"sqlite:///{tmp_path / 'sparsemod.db'}")
    settings = Settings(data_dir=tmp_path, webhook_private_addresses=True)
    hook = store.add_webhook(f"{receiver.url}/hook", ALL)
    dead = store.add_webhook("http://127.0.0.1:1/", ALL)
    made = store.create_experiment(spec()).id
    trial(store, made, 0, completed())
    store.queue_deliveries()  # and then the server stopped
    receiver.answers = [500, 503]
    jobs = WebhookJobs(store, settings, pause=0.05)
    jobs.begin()
    receiver.wait(4)
    trial(store, made, 1, completed(0.01, 10.0))
    receiver.wait(6)
    jobs.close()
    events = [json.loads(body)["event"] for _, _, body in receiver.requests]
    assert events == ["trial.completed"] * 3 + ["front.changed", "trial.completed", "front.changed"]
    ids = [headers["Sparsemod-Delivery"] for _, headers, _ in receiver.requests]
    assert len(set(ids)) == 4 and ids[0] == ids[1] == ids[2]
    for _, headers, body in receiver.requests:
        seconds = headers["Sparsemod-Signature"].removeprefix("t=").partition(",")[0]
        assert headers["Sparsemod-Signature"] == signature(hook.secret, body, int(seconds))
    log = store.deliveries(hook.id)
    assert {one.state for one in log} == {DeliveryState.DELIVERED} and log[-1].attempts == 3
    waiting = store.deliveries(dead.id)[-1]
    assert waiting.attempts > 0 and "no connection" in str(waiting.failure)
    store.close()


def test_no_error_ends_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr("service.store.webhook_deliveries.BACKOFF_SECONDS", (0.05, 0.1))
    store = Store.open(f"sqlite:///{tmp_path / 'sparsemod.db'}")
    hook = store.add_webhook(receiver.url, ALL).id
    store.ping_webhook(hook)
    failing = {"send": webhook_jobs.SENDERS + 1, "queue": 1}

    def first_fail(name: str, work: Any) -> Any:
        def call(*given: Any, **options: Any) -> Any:
            failing[name] -= 1
            if failing[name] >= 0:
                raise KeyError("a fault of the program")
            return work(*given, **options)

        return call

    monkeypatch.setattr(webhook_jobs, "post", first_fail("send", post))
    monkeypatch.setattr(store, "queue_deliveries", first_fail("queue", store.queue_deliveries))
    jobs = WebhookJobs(store, Settings(data_dir=tmp_path, webhook_private_addresses=True), pause=0.05)
    jobs.begin()
    receiver.wait(1)
    jobs.close()
    (sent,) = store.deliveries(hook)
    assert sent.state is DeliveryState.DELIVERED and sent.attempts == webhook_jobs.SENDERS + 2
    assert failing["queue"] < 0
    store.close()


def test_receivers_of_the_settings(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InvalidInput, match=r"^webhook_secret = '\(not shown\)': at least 16 characters"):
        WebhookJobs(store, Settings(data_dir=tmp_path, webhook_urls=(URL,), webhook_secret="short"))
    with pytest.raises(InvalidInput, match=r"^webhook_urls"):
        WebhookJobs(store, Settings(data_dir=tmp_path, webhook_urls=("http://127.0.0.1/",)))
    other = "https://other.example/"
    store.manage_webhooks([URL, other], "s" * 16)
    kept = store.webhooks()[0]
    store.ping_webhook(kept.id)
    store.manage_webhooks([URL], "t" * 16)
    (left,) = store.webhooks()
    assert (left.id, left.managed, left.everything, left.waiting) == (kept.id, True, True, 1)
    taken = store.take_webhook(60.0)
    assert taken is not None
    due = store.next_delivery(*taken, 60.0)
    assert due is not None and due.secret == "t" * 16
    store.manage_webhooks([], "")
    assert store.webhooks() == []


def test_servers_that_start_at_once_register_the_receivers_of_the_settings_once(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_store, "MOST", 1)
    store.add_webhook(URL, ALL)
    with pytest.raises(Conflict, match="1 webhooks are registered"):
        store.add_webhook(URL, ALL)
    others = [Store.open(database) for _ in range(4)]
    urls = [f"{URL}/{number}" for number in range(5)]  # more than the limit of the users' own
    begin = threading.Barrier(len(others))

    def manage(one: Store) -> None:
        begin.wait()
        one.manage_webhooks(urls, "s" * 16)

    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(manage, others))
    assert sorted(view.url for view in store.webhooks() if view.managed) == urls
    for one in others:
        one.close()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the receiver is not looked up."""

    def refuse(*_: object, **__: object) -> int:
        raise DeliveryFailed("the name ci.example cannot be resolved")

    monkeypatch.setattr("service.jobs.webhooks.post", refuse)


def test_access(tmp_path: Path, offline: None) -> None:
    with open_app(tmp_path, min_free_bytes=0) as http:
        store = store_of(http)
        ada, bob, root = (
            bearer(store.create_token(name, [scope])[0])
            for name, scope in (("ada", Scope.WRITE), ("bob", Scope.WRITE), ("root", Scope.ADMIN))
        )
        mine = http.post("/experiments", json={"spec": SPEC}, headers=ada).json()["id"]
        hook = http.post("/webhooks", json={"url": URL, "experiment": mine}, headers=ada)
        assert hook.status_code == 201 and hook.json()["secret"].startswith("whsec_")
        number = hook.json()["id"]
        assert http.post("/webhooks", json={"url": URL, "experiment": mine}, headers=bob).status_code == 403
        assert http.post("/webhooks", json={"url": URL, "everything": True}, headers=ada).status_code == 403
        assert http.post("/webhooks", json={"url": URL, "everything": True}, headers=root).status_code == 201
        assert http.post("/webhooks", json={"url": URL, "experiment": 7777}, headers=root).status_code == 404
        inner = http.post("/webhooks", json={"url": "http://169.254.169.254/latest"}, headers=ada)
        assert inner.status_code == 422 and inner.json()["error"]["field"] == "url"
        for method, path in (
            ("GET", "/deliveries"), ("POST", "/ping"), ("POST", "/enable"), ("DELETE", ""),
        ):  # fmt: skip
            assert http.request(method, f"/webhooks/{number}{path}", headers=bob).status_code == 404
        assert http.get("/webhooks", headers=bob).json() == []
        (shown,) = http.get("/webhooks", headers=ada).json()
        assert shown["id"] == number and "secret" not in shown
        assert len(http.get("/webhooks", headers=root).json()) == 2
        assert http.post(f"/webhooks/{number}/ping", headers=root).status_code == 202
        assert http.get(f"/webhooks/{number}/deliveries", headers=ada).json()[0]["event"] == "ping"
        assert http.post(f"/webhooks/{number}/enable", headers=ada).status_code == 200
        assert http.delete(f"/webhooks/{number}", headers=ada).status_code == 204
        assert http.get(f"/webhooks/{number}/deliveries", headers=ada).status_code == 404
        entries = http.get("/audit", headers=root).json()
        assert entries[0]["action"] == "DELETE /webhooks/{webhook}"


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    with open_app(tmp_path, min_free_bytes=0) as http:

        class Direct(Client):
            def __init__(self, *_: object) -> None:
                super().__init__("http://testserver")
                self._http = http  # type: ignore[assignment]

        http.headers["host"] = "localhost"
        client = Direct()
        made = client.create_experiment(spec()).id
        monkeypatch.setattr("service.cli.webhook.connect", lambda *_: client)

        def run(*words: str) -> str:
            done = CliRunner().invoke(app, ["webhook", *words])
            assert done.exit_code == 0, done.output
            return str(done.output)

        assert "whsec_" in run("add", URL, "--event", "front.changed", "--experiment", str(made))
        assert f"{URL}  experiment {made}  front.changed  0 waiting" in run("list")
        assert "queued" in run("ping", "1")
        assert "  ping  " in run("log", "1")
        assert "sends to" in run("enable", "1")
        assert json.loads(run("list", "--json"))[0]["id"] == 1
        assert "deleted" in run("remove", "1")


def test_the_command_line_knows_all_names_of_the_api() -> None:
    """It repeats them, because the schemas take long to import."""
    assert [one.value for one in EventName] == [one.value for one in WebhookEvent]
    assert [one.value for one in ScopeName] == [one.value for one in Scope]


def test_a_server_without_webhooks_needs_no_write(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'sparsemod.db'}")
    made = store.create_experiment(spec()).id
    trial(store, made, 0, completed())
    with store._write():  # a writer holds the database
        assert store.queue_deliveries() == 0 and store.webhooks_due() == []
    store.close()


def test_a_second_start_of_the_same_application(tmp_path: Path) -> None:
    http = open_app(tmp_path, min_free_bytes=0)
    with http:
        assert isinstance(http, TestClient)
    with http:
        assert http.get("/health").status_code == 200
