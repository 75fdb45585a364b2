"""Webhooks: receivers, and the deliveries made from the events of experiments.

Reports of workers write nothing for webhooks. The events are in the store anyway, with counters that have no gaps. A
server process reads those after a receiver's cursor and stores its deliveries and the new cursor in one transaction.
So nothing is lost or queued twice over restarts and with several servers.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import ExperimentState
from service.schemas.webhooks import DeliveryState, NewWebhook, WebhookEvent, WebhookView
from service.store.engine import moment, owned_by
from service.store.experiments import NEW_SPEC
from service.store.front import Fronts
from service.store.tables import events, experiments, trials
from service.store.trial_rows import values_by_trial
from service.store.webhook_tables import webhook_cursors, webhook_deliveries, webhooks
from sparsemod.errors import Conflict, InvalidInput, NotFound
from sparsemod.objectives import GrowingFront
from sparsemod.records import TrialState

MOST = 100
"""Largest number of webhooks of one owner, besides those of the settings."""

MOST_WAITING = 1000
"""Waiting deliveries of a webhook. While there are more, further events stay in the store."""

_EVENTS_READ = 500
"""Events of one experiment that one step reads."""

_MANAGED_LOCK = 0x73706D77  # arbitrary constant

_TRIAL_EVENTS = {
    TrialState.COMPLETED.value: WebhookEvent.TRIAL_COMPLETED, TrialState.FAILED.value: WebhookEvent.TRIAL_FAILED,
}  # fmt: skip
_EXPERIMENT_EVENTS = {
    ExperimentState.DONE.value: WebhookEvent.EXPERIMENT_FINISHED,
    ExperimentState.FAILED.value: WebhookEvent.EXPERIMENT_FAILED,
}

Everyone = object()
"""Passed as `owner`: webhooks of all owners."""


class Webhooks(Fronts):
    """Methods of the store for receivers, and those that queue deliveries."""

    def add_webhook(
        self,
        url: str,
        kinds: Sequence[WebhookEvent],
        *,
        owner: str | None = None,
        experiment: int | None = None,
        everything: bool = False,
    ) -> NewWebhook:
        """Register a receiver of the events from now on. Raises NotFound, Conflict when there are too many."""
        mine = owned_by(owner, webhooks.c.owner)
        with self._write() as connection:
            if experiment is not None:
                self._row(connection, experiment)
            count = sa.select(sa.func.count()).where(mine, webhooks.c.managed.is_(sa.false()))
            if connection.execute(count).scalar_one() >= MOST:
                raise Conflict(f"{MOST} webhooks are registered, the limit; delete some first")
            row = self._add_webhook(
                connection, url, kinds, secret=f"whsec_{secrets.token_urlsafe(32)}", owner=owner,
                experiment_id=experiment, everything=everything, managed=False,
            )  # fmt: skip
            return NewWebhook(**_view(row, 0).model_dump(), secret=row["secret"])

    def _add_webhook(
        self, connection: sa.Connection, url: str, kinds: Sequence[WebhookEvent], **values: Any
    ) -> sa.RowMapping:
        """Add a webhook whose cursors stand at the present events; return its row."""
        add = sa.insert(webhooks).values(
            url=url, events=[kind.value for kind in WebhookEvent if kind in kinds], created_at=self.clock(),
            retry_at=0.0, busy_until=0.0, **values,
        )  # fmt: skip
        row = connection.execute(add.returning(webhooks)).mappings().one()
        present = sa.select(
            sa.literal(row["id"], webhooks.c.id.type), experiments.c.id, experiments.c.events
        ).where(*_scope(row))
        connection.execute(
            sa.insert(webhook_cursors).from_select(["webhook_id", "experiment_id", "counter"], present)
        )
        return row

    def webhooks(self, owner: Any = Everyone) -> list[WebhookView]:
        """Return the webhooks of `owner`, or all, oldest first."""
        query = sa.select(webhooks).order_by(webhooks.c.id)
        if owner is not Everyone:
            query = query.where(owned_by(owner, webhooks.c.owner))
        with self._read() as connection:
            waiting = self._waiting(connection)
            return [_view(row, waiting.get(row["id"], 0)) for row in connection.execute(query).mappings()]

    def webhook(self, number: int) -> WebhookView:
        """Return a webhook. Raises NotFound."""
        with self._read() as connection:
            return _view(self._webhook(connection, number), self._waiting(connection).get(number, 0))

    def owner_of_webhook(self, number: int) -> str | None:
        """Return the owner of a webhook; None when it has none. Raises NotFound."""
        with self._read() as connection:
            owner: str | None = self._webhook(connection, number)["owner"]
            return owner

    def delete_webhook(self, number: int) -> None:
        """Delete a webhook with its deliveries. Raises NotFound."""
        with self._write() as connection:
            if not connection.execute(sa.delete(webhooks).where(webhooks.c.id == number)).rowcount:
                raise NotFound("webhook", number)

    def enable_webhook(self, number: int) -> WebhookView:
        """Send again to a webhook that was disabled, or that waits after a failure. Raises NotFound."""
        with self._write() as connection:
            self._webhook(connection, number)
            change = sa.update(webhooks).where(webhooks.c.id == number)
            connection.execute(change.values(disabled=None, retry_at=0.0))
        return self.webhook(number)

    def manage_webhooks(self, urls: Sequence[str], secret: str) -> None:
        """Make the webhooks that come from the settings equal to `urls`. Those that stay keep their deliveries."""
        managed = webhooks.c.managed.is_(sa.true())
        with self._write() as connection:
            if self._postgres:  # several servers may start at once; SQLite allows one writer only
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MANAGED_LOCK)))
            connection.execute(sa.delete(webhooks).where(managed, webhooks.c.url.not_in(urls)))
            connection.execute(sa.update(webhooks).where(managed).values(secret=secret))
            known = set(connection.execute(sa.select(webhooks.c.url).where(managed)).scalars())
            for url in dict.fromkeys(urls):
                if url not in known:
                    self._add_webhook(
                        connection, url, tuple(WebhookEvent), secret=secret, owner=None, experiment_id=None,
                        everything=True, managed=True,
                    )  # fmt: skip

    # -- from events to deliveries ----------------------------------------------------------------------

    def queue_deliveries(self) -> int:
        """Queue deliveries for the events since the last call of any server; return their number."""
        with self._read() as connection:
            active = sa.select(webhooks).where(webhooks.c.disabled.is_(None)).order_by(webhooks.c.id)
            receivers = list(connection.execute(active).mappings())
            waiting = self._waiting(connection) if receivers else {}
        count = 0
        for receiver in receivers:
            room = MOST_WAITING - waiting.get(receiver["id"], 0)
            if room <= 0:
                continue
            for identity in self._behind(receiver):
                try:
                    made = self._queue_for(receiver, identity)
                except (NotFound, Conflict):
                    continue  # experiment or webhook were deleted meanwhile
                count += made
                room -= made
                if room <= 0:
                    break
        return count

    def _behind(self, receiver: Mapping[Any, Any]) -> list[int]:
        """Return the experiments with events that the receiver's cursor has not reached."""
        cursor = sa.and_(
            webhook_cursors.c.webhook_id == receiver["id"],
            webhook_cursors.c.experiment_id == experiments.c.id,
        )
        query = (
            sa.select(experiments.c.id)
            .outerjoin(webhook_cursors, cursor)
            .where(*_scope(receiver), experiments.c.events > sa.func.coalesce(webhook_cursors.c.counter, 0))
            .order_by(experiments.c.id)
        )
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def _queue_for(self, receiver: Mapping[Any, Any], identity: int) -> int:
        """Read further events of one experiment and queue their deliveries, unless another server did."""
        key = (
            webhook_cursors.c.webhook_id == receiver["id"], webhook_cursors.c.experiment_id == identity,
        )  # fmt: skip
        with self._read() as connection:
            row = self._row(connection, identity)
            cursor = connection.execute(sa.select(webhook_cursors).where(*key)).one_or_none()
            seen = 0 if cursor is None else cursor.counter
            query = sa.select(events).where(events.c.experiment_id == identity, events.c.counter > seen)
            fresh = list(connection.execute(query.order_by(events.c.counter).limit(_EVENTS_READ)))
            # Retention may have deleted all of them.
            reached = fresh[-1].counter if fresh else row["events"]
            wanted = set(receiver["events"])
            made = [one for event in fresh if (one := _delivery(row, event)) and one["event"] in wanted]
            front = None if cursor is None else cursor.front
            if WebhookEvent.FRONT_CHANGED.value in wanted and any(map(_moves_front, fresh)):
                before = self._front_at(connection, row, seen) if front is None else front
                # With another spec, dominated trials may join the front. A deleted event may have changed the spec.
                whole = before is None or fresh[0].counter != seen + 1 or any(map(_changes_spec, fresh))
                known = None if whole or before is None else (seen, before)
                front = self._front_at(connection, row, reached, known)
                if front is not None and before is not None and front != before:
                    made.append(_front_changed(row, fresh[-1], before, front))
        values = {"webhook_id": receiver["id"], "experiment_id": identity, "counter": reached, "front": front}
        with self._write() as connection:
            if cursor is None:
                add = self._insert(webhook_cursors).values(values).on_conflict_do_nothing()
                moved = connection.execute(add.returning(webhook_cursors.c.counter)).scalar() is not None
            else:
                move = sa.update(webhook_cursors).where(*key, webhook_cursors.c.counter == seen)
                moved = bool(connection.execute(move.values(counter=reached, front=front)).rowcount)
            if not moved:
                return 0
            if made:
                new = {
                    "webhook_id": receiver["id"], "experiment": identity, "state": DeliveryState.WAITING.value,
                    "attempts": 0, "created_at": self.clock(),
                }  # fmt: skip
                connection.execute(sa.insert(webhook_deliveries), [{**new, **one} for one in made])
        return len(made)

    def _front_at(
        self,
        connection: sa.Connection,
        row: Mapping[Any, Any],
        counter: int,
        known: tuple[int, list[int]] | None = None,
    ) -> list[int] | None:
        """Return the trials on the front after event `counter`, None when the objectives are not known here.

        `known`: an earlier event, and the front after it. Then only these trials and those completed since are read.
        """
        stored = self._stored(row["id"], row["spec"])
        if stored.error is not None:
            return None
        try:
            front = GrowingFront(stored.spec.objectives_in_force())
        except InvalidInput:
            return None
        done = [
            trials.c.experiment_id == row["id"], trials.c.state == TrialState.COMPLETED.value,
            trials.c.finished_event <= counter,
        ]  # fmt: skip
        if known is not None:
            seen, members = known
            done.append(sa.or_(trials.c.finished_event > seen, trials.c.index.in_(members)))
        values = values_by_trial(connection, *done)
        query = sa.select(trials.c.id, trials.c.index).where(*done).order_by(trials.c.finished_event)
        for identity, index in connection.execute(query):
            front.add(index, values.get(identity, {}))
        return sorted(front.members)

    def _webhook(self, connection: sa.Connection, number: int) -> sa.RowMapping:
        row = connection.execute(sa.select(webhooks).where(webhooks.c.id == number)).mappings().one_or_none()
        if row is None:
            raise NotFound("webhook", number)
        return row

    def _waiting(self, connection: sa.Connection) -> dict[int, int]:
        """Return the number of waiting deliveries by webhook."""
        waits = webhook_deliveries.c.state == DeliveryState.WAITING.value
        of = webhook_deliveries.c.webhook_id
        query = sa.select(of, sa.func.count()).where(waits).group_by(of)
        return {number: count for number, count in connection.execute(query)}


def _scope(receiver: Mapping[Any, Any]) -> list[sa.ColumnElement[bool]]:
    """Return the condition for the experiments whose events a webhook receives."""
    if receiver["experiment_id"] is not None:
        return [experiments.c.id == receiver["experiment_id"]]
    if receiver["everything"]:
        return [sa.true()]
    owner = receiver["owner"]
    return [owned_by(owner, experiments.c.owner)]


def _delivery(row: Mapping[Any, Any], event: Any) -> dict[str, Any] | None:
    """Return event and body of the delivery for an event, None for an event that no webhook reports."""
    data = event.data
    if event.kind == "trial":
        kind = _TRIAL_EVENTS.get(data.get("state"))
        more = {"trial": data.get("index")}
    else:
        # Only the end of an experiment has a reason.
        kind = _EXPERIMENT_EVENTS.get(data.get("state")) if "reason" in data else None
        more = {"reason": data.get("reason")}
    return None if kind is None else {"event": kind.value, "body": {**_body(row, event, kind), **more}}


def _front_changed(row: Mapping[Any, Any], event: Any, before: list[int], front: list[int]) -> dict[str, Any]:
    kind = WebhookEvent.FRONT_CHANGED
    more = {
        "front": front, "added": sorted(set(front) - set(before)), "removed": sorted(set(before) - set(front)),
    }  # fmt: skip
    return {"event": kind.value, "body": {**_body(row, event, kind), **more}}


def _body(row: Mapping[Any, Any], event: Any, kind: WebhookEvent) -> dict[str, Any]:
    return {
        "event": kind.value, "experiment": row["id"], "name": row["name"], "owner": row["owner"],
        "counter": event.counter, "time": moment(event.time).isoformat(),
    }  # fmt: skip


def _moves_front(event: Any) -> bool:
    if event.kind == "trial":
        return event.data.get("state") == TrialState.COMPLETED.value  # type: ignore[no-any-return]
    return _changes_spec(event)


def _changes_spec(event: Any) -> bool:
    return event.data.get("change") in NEW_SPEC


def _view(row: Mapping[Any, Any], waiting: int) -> WebhookView:
    return WebhookView(
        id=row["id"], owner=row["owner"], url=row["url"], events=tuple(WebhookEvent(e) for e in row["events"]),
        experiment=row["experiment_id"], everything=bool(row["everything"]), managed=bool(row["managed"]),
        created_at=moment(row["created_at"]), disabled=row["disabled"], waiting=waiting,
        retry_at=moment(row["retry_at"]) if row["retry_at"] else None,
    )  # fmt: skip
