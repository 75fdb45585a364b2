"""Results of long computations, stored with their experiment."""

from typing import Any

import sqlalchemy as sa

from service.store.engine import Base
from service.store.tables import derived
from sparsemod.errors import Conflict


class ComputedViews(Base):
    """Methods of the store for computed results."""

    def computed_view(self, experiment_id: int, kind: str, key: str | None = None) -> tuple[str, Any] | None:
        """Return key and content of a computed result, the newest of its kind without `key`.

        None when none is stored.
        """
        query = sa.select(derived.c.key, derived.c.content).where(
            derived.c.experiment_id == experiment_id, derived.c.kind == kind
        )
        query = query.order_by(derived.c.created_at.desc(), derived.c.key.desc()).limit(1)
        with self._read() as connection:
            row = connection.execute(
                query if key is None else query.where(derived.c.key == key)
            ).one_or_none()
        return None if row is None else (row.key, row.content)

    def keep_computed_view(
        self, experiment_id: int, kind: str, key: str, content: Any, *, only: bool = False
    ) -> None:
        """Store a result.

        With `only`, delete all others of its kind. Do nothing when the experiment was deleted.
        """
        values = {
            "experiment_id": experiment_id, "kind": kind, "key": key, "content": content, "created_at": self.clock(),
        }  # fmt: skip
        mine = (derived.c.experiment_id == experiment_id, derived.c.kind == kind)
        try:
            with self._write() as connection:
                if only:
                    connection.execute(sa.delete(derived).where(*mine))
                connection.execute(self._insert(derived).values(**values).on_conflict_do_nothing())
        except Conflict:
            return  # the experiment was deleted
