"""The angle to the true gradient of every epoch is in the learning curve, no longer in a measurement's detail."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

attempts = sa.table("attempts", sa.column("id"), sa.column("trial_id"))
points = sa.table("curve_points", sa.column("attempt_id"), sa.column("epoch"), sa.column("angle", sa.Double))
measurements = sa.table(
    "measurements",
    sa.column("trial_id"),
    sa.column("position"),
    sa.column("metric"),
    sa.column("detail", sa.JSON),
)


def upgrade() -> None:
    op.add_column("curve_points", sa.Column("angle", sa.Double))
    connection, table = op.get_bind(), measurements.c
    found = sa.select(table.trial_id, table.position, table.detail).where(table.metric == "gradient_angle")
    for trial, position, detail in connection.execute(found).all():
        own = sa.select(attempts.c.id).where(attempts.c.trial_id == trial)
        for epoch, degrees in detail.get("by_epoch", ()):
            here = sa.and_(points.c.attempt_id.in_(own), points.c.epoch == epoch)
            connection.execute(sa.update(points).where(here).values(angle=degrees))
        rest = {key: value for key, value in detail.items() if key != "by_epoch"}
        place = sa.and_(table.trial_id == trial, table.position == position)
        connection.execute(sa.update(measurements).where(place).values(detail=rest))
