"""Threads of the server that deliver webhooks: one queues deliveries from the events, some send them.

They share nothing with requests but the database, so a slow or dead receiver delays no report.
"""

import contextlib
import queue
import threading
import time

import structlog

from service.files.webhook_request import WHOLE_SECONDS, DeliveryFailed, check_url, post
from service.settings import Settings
from service.store import Store
from service.store.webhook_deliveries import DueDelivery
from sparsemod.errors import InvalidInput, SparsemodError

log = structlog.get_logger("webhooks")

SENDERS = 4
"""Receivers that one server process sends to at the same time."""

PAUSE_SECONDS = 1.0
"""Pause between two looks at the events."""

HOLD_SECONDS = 4 * WHOLE_SECONDS
"""After this time, another server may send to a receiver whose server died."""

FORGET_SECONDS = 3600.0
"""Pause between two deletions of old deliveries."""

LOOK_SECONDS = 30.0
"""An idle sender looks for due deliveries that often by itself."""

SECRET_LENGTH = 16
"""Shortest secret for the webhooks of the settings."""


class WebhookJobs:
    """Queues and sends the deliveries while the server runs."""

    def __init__(self, store: Store, settings: Settings, *, pause: float = PAUSE_SECONDS) -> None:
        """Raises InvalidInput for unusable settings."""
        self._store, self._settings, self._pause = store, settings, pause
        self._ending = threading.Event()
        self._wanted: queue.Queue[None] = queue.Queue(SENDERS)
        self._threads: list[threading.Thread] = []
        for url in settings.webhook_urls:
            check_url(url, private=settings.webhook_private_addresses, field="webhook_urls")
        if settings.webhook_urls and len(settings.webhook_secret) < SECRET_LENGTH:
            allowed = f"at least {SECRET_LENGTH} characters, because SPARSEMOD_WEBHOOK_URLS is set"
            raise InvalidInput("webhook_secret", "(not shown)", allowed)

    def begin(self) -> None:
        """Start the threads."""
        self._ending.clear()
        targets = [("webhooks", self._queue)] + [
            (f"webhook-sender-{number}", self._send) for number in range(SENDERS)
        ]
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in targets]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the threads; wait for requests in progress."""
        self._ending.set()
        for _ in self._threads:
            self.wake()
        for thread in self._threads:
            thread.join(timeout=2 * WHOLE_SECONDS)

    def wake(self) -> None:
        """Let a sender look for due deliveries."""
        with contextlib.suppress(queue.Full):
            self._wanted.put_nowait(None)

    def _queue(self) -> None:
        """Queue deliveries, after making the webhooks of the settings those of the store."""
        managed = False
        forgot = time.monotonic()
        while not self._ending.is_set():
            try:
                if not managed:
                    self._store.manage_webhooks(self._settings.webhook_urls, self._settings.webhook_secret)
                    managed = True
                self._store.queue_deliveries()
                if self._store.webhooks_due():
                    self.wake()
                if time.monotonic() - forgot > FORGET_SECONDS:
                    forgot = time.monotonic()
                    self._store.forget_deliveries()
            except SparsemodError as error:
                log.warning("the store does not answer; trying again later", reason=str(error))
            except Exception:
                log.exception("deliveries cannot be queued; trying again later")
            self._ending.wait(self._pause)

    def _send(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(queue.Empty):
                self._wanted.get(timeout=LOOK_SECONDS)
            try:
                while not self._ending.is_set() and self._send_to_one():
                    pass
            except SparsemodError as error:
                log.warning("the store does not answer; trying again later", reason=str(error))

    def _send_to_one(self) -> bool:
        """Send the due deliveries of one receiver. Return False when no receiver has any."""
        taken = self._store.take_webhook(HOLD_SECONDS)
        if taken is None:
            return False
        self.wake()  # another receiver may be due
        number, token = taken
        while not self._ending.is_set():
            due = self._store.next_delivery(number, token, HOLD_SECONDS)
            if due is None:
                break
            self._deliver(due)
        self._store.release_webhook(number, token)
        return True

    def _deliver(self, due: DueDelivery) -> None:
        status, failure = None, None
        try:
            status = post(
                due.url, due.secret, due.event, due.id, due.body, private=self._settings.webhook_private_addresses
            )  # fmt: skip
        except DeliveryFailed as error:
            status, failure = error.status, str(error)[:500]
        except Exception as error:  # noqa: BLE001 - the next delivery must be sent in any case
            failure = f"{type(error).__name__}: {error}"[:500]
        state = self._store.end_attempt(due, status, failure)
        note = log.info if failure is None else log.warning
        note(
            "webhook", webhook=due.webhook, delivery=due.id, about=due.event, state=state.value,
            attempt=due.attempts + 1, status=status, reason=failure,
        )  # fmt: skip
