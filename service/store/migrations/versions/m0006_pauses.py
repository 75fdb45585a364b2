"""What a machine lacks pauses a worker or an experiment; failed trials can be tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("experiment_id", Identity, nullable=True),
        sa.Column("claims", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.id"],
            name="fk_pauses_experiment_id_experiments",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key", name="pk_pauses"),
    )
    op.create_index("ix_pauses_experiment_id", "pauses", ["experiment_id"])
    op.add_column("trials", sa.Column("forgiven", sa.BigInteger(), nullable=True))
