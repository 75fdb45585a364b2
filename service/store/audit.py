"""The audit trail: who changed what. Its records stay when the experiment is deleted."""

from typing import Any

import sqlalchemy as sa

from service.schemas.audit import AuditEntry
from service.store.engine import Base, moment
from service.store.tables import audit

_ADD = sa.insert(audit)


class Audit(Base):
    """Methods of the store for the audit trail."""

    def record(
        self,
        action: str,
        target: str,
        *,
        owner: str | None = None,
        token: int | None = None,
        experiment: int | None = None,
        request: str | None = None,
    ) -> None:
        """Add an entry. `owner` and `token` are those of the login, None on a server without logins."""
        values = {
            "time": self.clock(), "owner": owner, "token": token, "action": action[:200], "target": target[:500],
            "experiment": experiment, "request": request,
        }  # fmt: skip
        with self._write() as connection:
            connection.execute(_ADD, values)

    def audit_trail(
        self, experiment: int | None = None, before: int | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Return the newest entries first: of one experiment or of everything, and only those below id `before`."""
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        if experiment is not None:
            query = query.where(audit.c.experiment == experiment)
        if before is not None:
            query = query.where(audit.c.id < before)
        with self._read() as connection:
            return [_entry(row) for row in connection.execute(query)]


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        time=moment(row.time),
        owner=row.owner,
        token=row.token,
        action=row.action,
        target=row.target,
        experiment=row.experiment,
        request=row.request,
    )
