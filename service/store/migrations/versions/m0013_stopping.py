"""Stopping rules: the decision on a trial, and trials that a rule must not stop."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("stopping", sa.JSON(none_as_null=True)))
    op.add_column("trials", sa.Column("spared", sa.Boolean, nullable=False, server_default=sa.false()))
