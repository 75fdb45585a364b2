"""Uploaded models: records, and the queue of those that are not measured yet."""

import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from service.schemas.models import ModelState, ModelView
from service.store.engine import moment, owned_by
from service.store.quotas import Quotas
from service.store.tables import artifacts, experiments, models
from sparsemod.errors import Conflict, NotFound, StaleLease

ATTEMPTS = 3
"""How often a model may kill the process that measures it, or its server."""

MOST = 1000
"""Largest number of uploaded models."""


class Models(Quotas):
    """Methods of the store for uploaded models."""

    def add_model(self, name: str, digest: str, size: int, device: str, owner: str | None) -> ModelView:
        """Record an uploaded model to be measured. The same upload again returns the same record.

        Raises Conflict when there are too many models, QuotaExceeded, NotFound for a file that is not stored.
        """
        same = (models.c.name == name, models.c.digest == digest, models.c.device == device)
        mine = owned_by(owner, models.c.owner)
        with self._write() as connection:
            lock = sa.select(artifacts.c.digest).where(artifacts.c.digest == digest)
            if connection.execute(lock.with_for_update()).scalar() is None:
                raise NotFound("artifact", digest)
            known = connection.execute(sa.select(models).where(*same, mine)).mappings().first()
            if known is not None:
                return _view(known)
            count = connection.execute(sa.select(sa.func.count()).select_from(models)).scalar_one()
            if count >= MOST:
                raise Conflict(f"{count} models are stored, the limit; delete some first")
            self._check_quota(connection, owner, "uploads")
            self._check_quota(connection, owner, "disk", size)
            values = {
                "name": name, "digest": digest, "size": size, "device": device, "owner": owner,
                "state": ModelState.QUEUED.value, "attempts": 0, "created_at": self.clock(),
            }  # fmt: skip
            row = connection.execute(sa.insert(models).values(values).returning(*models.c)).mappings().one()
            return _view(row)

    def model(self, number: int) -> ModelView:
        """Return a model. Raises NotFound."""
        with self._read() as connection:
            row = connection.execute(sa.select(models).where(models.c.id == number)).mappings().first()
        if row is None:
            raise NotFound("model", number)
        return _view(row)

    def models(self, limit: int, offset: int = 0) -> list[ModelView]:
        """Return models, the newest first."""
        query = sa.select(models).order_by(models.c.id.desc()).limit(limit).offset(offset)
        with self._read() as connection:
            return [_view(row) for row in connection.execute(query).mappings()]

    def owner_of_model(self, number: int) -> str | None:
        """Return the owner of a model; None when it has none. Raises NotFound."""
        return self.model(number).owner

    def claim_model(self, seconds: float) -> tuple[ModelView, str] | None:
        """Take the oldest model that waits to be measured, for `seconds`, and return it with a token.

        A model whose server died waits again; after ATTEMPTS it has failed.
        """
        now = self.clock()
        waiting = sa.or_(
            models.c.state == ModelState.QUEUED.value,
            sa.and_(models.c.state == ModelState.RUNNING.value, models.c.expires_at < now),
        )
        with self._write() as connection:
            query = sa.select(models).where(waiting).order_by(models.c.id).limit(1)
            row = connection.execute(query.with_for_update()).mappings().first()
            if row is None:
                return None
            change = sa.update(models).where(models.c.id == row["id"])
            if row["attempts"] >= ATTEMPTS:
                failure = f"measuring it ended {ATTEMPTS} servers or processes"
                connection.execute(change.values(state=ModelState.FAILED.value, failure=failure, token=None))
                return None
            token = secrets.token_hex(16)
            connection.execute(
                change.values(
                    state=ModelState.RUNNING.value,
                    attempts=row["attempts"] + 1,
                    token=token,
                    expires_at=now + seconds,
                )
            )
            return _view({**row, "state": ModelState.RUNNING.value}), token

    def end_model(
        self, number: int, token: str, *, report: Mapping[str, Any] | None = None, failure: str | None = None
    ) -> None:
        """Store the report of a claimed model, or why it failed; with neither, it waits again.

        Raises StaleLease when another server has it.
        """
        state = ModelState.DONE if report is not None else ModelState.FAILED if failure else ModelState.QUEUED
        change = sa.update(models).where(models.c.id == number, models.c.token == token)
        values = {
            "state": state.value,
            "report": report,
            "failure": failure,
            "token": None,
            "expires_at": None,
        }
        with self._write() as connection:
            if not connection.execute(change.values(values)).rowcount:
                raise StaleLease(f"another server measures model {number}, or it was deleted")

    def delete_model(self, number: int) -> str:
        """Delete a model and return the digest of its file. Raises NotFound, Conflict while an experiment uses it."""
        digest = self.model(number).digest
        with self._write() as connection:
            for identity, spec in connection.execute(sa.select(experiments.c.id, experiments.c.spec)):
                if digest in dict(spec.get("network", {}).get("options", {})).values():
                    raise Conflict(f"experiment {identity} uses model {number}; delete it first")
            connection.execute(sa.delete(models).where(models.c.id == number))
        return digest


def _view(row: Mapping[Any, Any]) -> ModelView:
    values = {name: row[name] for name in ModelView.model_fields}
    return ModelView.model_validate({**values, "created_at": moment(row["created_at"])})
