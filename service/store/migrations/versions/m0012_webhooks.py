"""Webhooks: receivers, cursors, deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _reference(name: str, table: str, *, key: bool = False, optional: bool = False) -> sa.Column[int]:
    return sa.Column(
        name,
        Identity,
        sa.ForeignKey(f"{table}.id", ondelete="CASCADE"),
        primary_key=key,
        nullable=optional,
        autoincrement=False,
    )


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", Identity, primary_key=True),
        sa.Column("owner", sa.String(200)),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("secret", sa.String(200), nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        _reference("experiment_id", "experiments", optional=True),
        sa.Column("everything", sa.Boolean, nullable=False),
        sa.Column("managed", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("disabled", sa.Text),
        sa.Column("retry_at", sa.Double, nullable=False),
        sa.Column("busy_until", sa.Double, nullable=False),
        sa.Column("token", sa.String(64)),
    )
    op.create_index("ix_webhooks_experiment_id", "webhooks", ["experiment_id"])
    op.create_table(
        "webhook_cursors",
        _reference("webhook_id", "webhooks", key=True),
        _reference("experiment_id", "experiments", key=True),
        sa.Column("counter", sa.Integer, nullable=False),
        sa.Column("front", sa.JSON(none_as_null=True)),
    )
    op.create_index("ix_webhook_cursors_experiment_id", "webhook_cursors", ["experiment_id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", Identity, primary_key=True),
        _reference("webhook_id", "webhooks"),
        sa.Column("event", sa.String(40), nullable=False),
        sa.Column("experiment", sa.BigInteger),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("status", sa.Integer),
        sa.Column("failure", sa.Text),
    )
    op.create_index(
        "ix_webhook_deliveries_webhook_id_state_id", "webhook_deliveries", ["webhook_id", "state", "id"]
    )
    op.create_index("ix_webhook_deliveries_state_ended_at", "webhook_deliveries", ["state", "ended_at"])
