"""The names that exported models get; none for requests of earlier releases, which get the default."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("export_jobs", sa.Column("name", sa.String(40), nullable=True))
