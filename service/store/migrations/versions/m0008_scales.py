"""Stored specs name the scales of their objectives (version 2): those from before were compared on linear scales."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
experiments = sa.table("experiments", sa.column("id", Identity), sa.column("spec", sa.JSON))

_OBJECTIVES = ("error", "model_size", "working_memory", "latency")
"""The objectives of a version-1 spec that named none."""


def upgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(experiments.c.id, experiments.c.spec)).all():
        # A spec that does not validate is kept as it is; `mend` replaces it.
        if not isinstance(row.spec, dict) or row.spec.get("version", 1) != 1 or "scales" in row.spec:
            continue
        names = row.spec.get("objectives", _OBJECTIVES)
        if not isinstance(names, list | tuple):
            continue
        scales: dict[str, Any] = {name: {"kind": "linear"} for name in names if isinstance(name, str)}
        spec = {**row.spec, "version": 2, "scales": scales}
        connection.execute(sa.update(experiments).where(experiments.c.id == row.id).values(spec=spec))
