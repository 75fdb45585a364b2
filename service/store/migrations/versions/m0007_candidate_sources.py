"""Stored specs name their candidate source: `rounds` and `search` become the settings of the source `search`."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
experiments = sa.table("experiments", sa.column("id", Identity), sa.column("spec", sa.JSON))


def upgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(experiments.c.id, experiments.c.spec)).all():
        spec: dict[str, Any] = dict(row.spec)
        if "source" in spec:
            continue
        rounds = {"rounds": spec.pop("rounds")} if "rounds" in spec else {}
        spec["source"] = {"name": "search", "version": 1, **rounds, **spec.pop("search", {})}
        connection.execute(sa.update(experiments).where(experiments.c.id == row.id).values(spec=spec))
