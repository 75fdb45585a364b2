"""Retention: what the user keeps, what was deleted by age."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("experiments", "trials"):
        op.add_column(table, sa.Column("kept", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("experiments", sa.Column("events_dropped", sa.Integer, nullable=False, server_default="0"))
    op.add_column("trials", sa.Column("files_expired_at", sa.Double))
