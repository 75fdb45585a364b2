"""The tables of webhooks: receivers, how far each has read the events, and the deliveries."""

import sqlalchemy as sa

from service.store.tables import Identity, metadata

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("owner", sa.String(200)),  # owner of the token that registered it; None without logins
    sa.Column("url", sa.String(2000), nullable=False),
    sa.Column("secret", sa.String(200), nullable=False),  # signs every delivery, so no hash is enough
    sa.Column("events", sa.JSON, nullable=False),
    sa.Column("experiment_id", Identity, sa.ForeignKey("experiments.id", ondelete="CASCADE")),
    sa.Column("everything", sa.Boolean, nullable=False),  # also the experiments of other owners
    sa.Column("managed", sa.Boolean, nullable=False),  # from the settings of the server
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("disabled", sa.Text),  # why nothing is sent any more
    sa.Column("retry_at", sa.Double, nullable=False),
    sa.Column("busy_until", sa.Double, nullable=False),  # a server process sends to it
    sa.Column("token", sa.String(64)),
    sa.Index(None, "experiment_id"),
)

webhook_cursors = sa.Table(
    "webhook_cursors",
    metadata,
    sa.Column(
        "webhook_id",
        Identity,
        sa.ForeignKey("webhooks.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column(
        "experiment_id",
        Identity,
        sa.ForeignKey("experiments.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("counter", sa.Integer, nullable=False),  # the last event that was read
    sa.Column("front", sa.JSON(none_as_null=True)),  # indices of the trials on the front at that event
    sa.Index(None, "experiment_id"),
)

# No foreign key to the experiment: the log stays when the experiment is deleted.
webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("webhook_id", Identity, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    sa.Column("event", sa.String(40), nullable=False),
    sa.Column("experiment", sa.BigInteger),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("status", sa.Integer),  # of the last answer
    sa.Column("failure", sa.Text),  # of the last attempt
    sa.Index(None, "webhook_id", "state", "id"),
    sa.Index(None, "state", "ended_at"),
)
