"""Record when an uploader was told that a file exists. The file stays until the reference arrives."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("artifacts", sa.Column("asked_at", sa.Double(), nullable=True))
