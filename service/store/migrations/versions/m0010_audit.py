"""The audit trail: who changed what, and when."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", Identity, primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("owner", sa.String(200)),
        sa.Column("token", sa.BigInteger),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("target", sa.String(500), nullable=False),
        sa.Column("experiment", sa.BigInteger),
        sa.Column("request", sa.String(100)),
    )
    op.create_index("ix_audit_experiment", "audit", ["experiment"])
