"""Files that somebody was told are there already, so that they stay until that somebody refers to them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("artifacts", sa.Column("asked_at", sa.Double(), nullable=True))
