"""Requests with an Idempotency-Key: the outcome of the first one answers every repetition."""

from typing import Any

import sqlalchemy as sa

from service.store.engine import Base, Row
from service.store.limits import request_fingerprint
from service.store.tables import requests
from sparsemod.errors import Conflict


class Idempotency(Base):
    """The part of the store about repeated requests."""

    def _known_request(self, connection: sa.Connection, key: str | None, kind: str, body: Any) -> Row | None:
        """Return the stored outcome of an earlier request with this key.

        Raises Conflict when its body was different.
        """
        if key is None:
            return None
        row = connection.execute(sa.select(requests).where(requests.c.key == key)).mappings().one_or_none()
        if row is not None and row["fingerprint"] != request_fingerprint(kind, body):
            raise Conflict(f"Idempotency-Key {key!r} was already used for another request")
        return row

    def _remember_request(
        self,
        connection: sa.Connection,
        key: str | None,
        kind: str,
        body: Any,
        experiment_id: int,
        trial: int | None,
        now: float,
    ) -> None:
        if key is not None:
            values = {
                "key": key,
                "fingerprint": request_fingerprint(kind, body),
                "experiment_id": experiment_id,
                "trial": trial,
            }
            connection.execute(sa.insert(requests), {**values, "created_at": now})
