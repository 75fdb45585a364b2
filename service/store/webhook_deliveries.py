"""The deliveries of webhooks: who sends which one next, and how it ended.

One server process at a time sends to a receiver, in the order of the events. After a failure, the receiver waits; its
later deliveries wait with it.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.schemas.webhooks import PING, Delivery, DeliveryState
from service.store.engine import Base, moment, moment_or_none
from service.store.webhook_tables import webhook_deliveries, webhooks
from sparsemod.errors import NotFound

ATTEMPTS = 14
"""Attempts of a delivery. After the last one it has failed, and its webhook is disabled."""

BACKOFF_SECONDS = (10.0, 6 * 3600.0)
"""Pause after the first failure, and the longest one. All attempts together take 17 hours."""

LOG_SECONDS = 30 * 86_400.0
"""How long ended deliveries stay in the log."""

_WAITING = DeliveryState.WAITING.value


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that this process sends now. `token` fences its receiver."""

    id: int
    webhook: int
    url: str
    secret: str
    event: str
    body: dict[str, Any]
    attempts: int
    token: str


class WebhookDeliveries(Base):
    """Methods of the store for the deliveries of webhooks."""

    def webhooks_due(self) -> list[int]:
        """Return the receivers with a delivery that can be sent now, at most 20."""
        now = self.clock()
        due = (
            sa.select(webhooks.c.id)
            .where(
                webhooks.c.disabled.is_(None),
                webhooks.c.retry_at <= now,
                webhooks.c.busy_until <= now,
                sa.exists().where(
                    webhook_deliveries.c.webhook_id == webhooks.c.id, webhook_deliveries.c.state == _WAITING
                ),
            )
            .order_by(webhooks.c.busy_until, webhooks.c.id)
        )
        with self._read() as connection:
            return list(connection.execute(due.limit(20)).scalars())

    def take_webhook(self, seconds: float) -> tuple[int, str] | None:
        """Take a receiver with a due delivery for `seconds`; return its number and a token, None when none is due."""
        now = self.clock()
        for number in self.webhooks_due():
            token = secrets.token_hex(16)
            take = sa.update(webhooks).where(webhooks.c.id == number, webhooks.c.busy_until <= now)
            with self._write() as connection:
                if connection.execute(take.values(busy_until=now + seconds, token=token)).rowcount:
                    return number, token
        return None

    def next_delivery(self, number: int, token: str, seconds: float) -> DueDelivery | None:
        """Return the next delivery of a receiver that this process has taken, and keep the receiver for `seconds`.

        None when it has none, waits after a failure, was deleted, or belongs to another process.
        """
        now = self.clock()
        mine = (
            webhooks.c.id == number, webhooks.c.token == token, webhooks.c.disabled.is_(None),
            webhooks.c.retry_at <= now,
        )  # fmt: skip
        first = (
            sa.select(webhook_deliveries)
            .where(webhook_deliveries.c.webhook_id == number, webhook_deliveries.c.state == _WAITING)
            .order_by(webhook_deliveries.c.id)
            .limit(1)
        )
        with self._write() as connection:
            hold = sa.update(webhooks).where(*mine).values(busy_until=now + seconds)
            receiver = connection.execute(hold.returning(webhooks.c.url, webhooks.c.secret)).one_or_none()
            row = None if receiver is None else connection.execute(first).one_or_none()
            if receiver is None or row is None:
                return None
            return DueDelivery(
                row.id, number, receiver.url, receiver.secret, row.event, row.body, row.attempts, token
            )

    def release_webhook(self, number: int, token: str) -> None:
        """Let other processes send to the receiver."""
        mine = (webhooks.c.id == number, webhooks.c.token == token)
        with self._write() as connection:
            connection.execute(sa.update(webhooks).where(*mine).values(busy_until=0.0, token=None))

    def end_attempt(self, due: DueDelivery, status: int | None, failure: str | None) -> DeliveryState:
        """Store how an attempt ended and return the delivery's state. `failure` None: it was delivered.

        Does nothing when another process has taken the receiver meanwhile.
        """
        now = self.clock()
        attempts = due.attempts + 1
        state = DeliveryState.DELIVERED if failure is None else DeliveryState.WAITING
        change: dict[str, Any] = {"retry_at": 0.0}
        if failure is not None:
            first, longest = BACKOFF_SECONDS
            change = {"retry_at": now + min(first * 2.0 ** min(due.attempts, 30), longest)}
            if attempts >= ATTEMPTS:
                state = DeliveryState.FAILED
                change = {
                    "retry_at": 0.0, "disabled": f"delivery {due.id} failed {attempts} times, the last time: {failure}",
                }  # fmt: skip
        values = {
            "state": state.value, "attempts": attempts, "status": status, "failure": failure,
            "ended_at": None if state is DeliveryState.WAITING else now,
        }  # fmt: skip
        with self._write() as connection:
            mine = (webhooks.c.id == due.webhook, webhooks.c.token == due.token)
            if not connection.execute(sa.update(webhooks).where(*mine).values(**change)).rowcount:
                return state
            one = sa.update(webhook_deliveries).where(
                webhook_deliveries.c.id == due.id, webhook_deliveries.c.state == _WAITING
            )
            connection.execute(one.values(**values))
        return state

    def ping_webhook(self, number: int) -> Delivery:
        """Queue a test delivery and return it. Raises NotFound."""
        now = self.clock()
        values = {
            "webhook_id": number, "event": PING, "body": {"event": PING, "time": moment(now).isoformat()},
            "state": _WAITING, "attempts": 0, "created_at": now,
        }  # fmt: skip
        with self._write() as connection:
            known = sa.select(webhooks.c.id).where(webhooks.c.id == number)
            if connection.execute(known.with_for_update(read=True)).scalar() is None:
                raise NotFound("webhook", number)
            add = sa.insert(webhook_deliveries).values(**values).returning(webhook_deliveries)
            return _delivery(connection.execute(add).one())

    def deliveries(self, number: int, limit: int = 100, before: int | None = None) -> list[Delivery]:
        """Return the deliveries of a webhook, newest first, and only those below id `before`. Raises NotFound."""
        query = (
            sa.select(webhook_deliveries)
            .where(webhook_deliveries.c.webhook_id == number)
            .order_by(webhook_deliveries.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(webhook_deliveries.c.id < before)
        with self._read() as connection:
            if connection.execute(sa.select(webhooks.c.id).where(webhooks.c.id == number)).scalar() is None:
                raise NotFound("webhook", number)
            return [_delivery(row) for row in connection.execute(query)]

    def forget_deliveries(self) -> int:
        """Delete ended deliveries older than LOG_SECONDS and return their number."""
        old = (
            webhook_deliveries.c.state != _WAITING,
            webhook_deliveries.c.ended_at < self.clock() - LOG_SECONDS,
        )
        with self._write() as connection:
            return connection.execute(sa.delete(webhook_deliveries).where(*old)).rowcount


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row.id, event=row.event, experiment=row.experiment, body=row.body, state=DeliveryState(row.state),
        attempts=row.attempts, created_at=moment(row.created_at), ended_at=moment_or_none(row.ended_at),
        status=row.status, failure=row.failure,
    )  # fmt: skip
