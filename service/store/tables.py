"""The tables. A test checks that the migrations produce exactly this schema.

Times are seconds since 1970 (UTC). No query filters by the content of JSON columns.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A plain INTEGER primary key is SQLite's row id. PostgreSQL gets an eight-byte integer.
Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _experiment() -> sa.Column[int]:
    return sa.Column(
        "experiment_id", Identity, sa.ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False
    )


def _trial() -> sa.Column[int]:
    return sa.Column("trial_id", Identity, sa.ForeignKey("trials.id", ondelete="CASCADE"), nullable=False)


experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("owner", sa.String(200)),  # owner of the token that created it; None without logins
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column(
        "spec_version", sa.Integer, nullable=False
    ),  # incremented when the spec is extended or replaced
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    # Trial indices have no gaps: they are assigned under this row's lock.
    sa.Column("next_index", sa.Integer, nullable=False),
    # Counter of the last event, incremented under this row's lock.
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("kept", sa.Boolean, nullable=False, server_default=sa.false()),  # retention deletes nothing
    # Retention has deleted the events up to this counter.
    sa.Column("events_dropped", sa.Integer, nullable=False, server_default="0"),
    sa.Index(None, "state"),
)

SPEC_TEXT = sa.cast(experiments.c.spec, sa.Text).label("spec_text")
"""The spec as stored. Comparing the text with a known one is cheaper than parsing it, see Base."""

trials = sa.Table(
    "trials",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    _experiment(),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("origin", sa.String(20), nullable=False),
    sa.Column("round", sa.String(20), nullable=False),
    sa.Column("parent", sa.Integer),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("operators", sa.JSON, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("costs", sa.JSON, nullable=False),
    sa.Column("stop_requested", sa.Boolean, nullable=False),
    sa.Column("checkpoint", sa.String(80)),
    sa.Column("trained_epochs", sa.Double, nullable=False),
    sa.Column("seconds", sa.JSON, nullable=False),
    sa.Column("notes", sa.JSON, nullable=False),
    sa.Column("failure_kind", sa.String(20)),
    sa.Column("failure", sa.JSON(none_as_null=True)),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    sa.Column("finished_event", sa.Integer),  # the experiment's event counter: orders trials by their end
    sa.Column("forgiven", sa.BigInteger),  # attempts up to this id do not count: the user retried the trial
    sa.Column("kept", sa.Boolean, nullable=False, server_default=sa.false()),  # retention keeps its files
    sa.Column("files_expired_at", sa.Double),  # when retention deleted its files
    sa.Column("stopping", sa.JSON(none_as_null=True)),  # decision of the stopping rule, see StopDecision
    # The user continued it after it was stopped: the rule must not stop it again.
    sa.Column("spared", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("experiment_id", "index"),
    sa.Index(None, "state", "id"),
    sa.Index(None, "experiment_id", "state", "round"),
    sa.Index(None, "experiment_id", "finished_event"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    _trial(),
    sa.Column("worker", sa.String(200), nullable=False),
    sa.Column("device", sa.String(200), nullable=False),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("request", sa.String(100)),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("heartbeat_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("failure", sa.JSON(none_as_null=True)),
    sa.Column("outcome", sa.String(20)),  # the trial's state after it: the answer to a repeated report
    sa.Column("login", sa.BigInteger),  # id of the token that claimed it; None without logins
    sa.UniqueConstraint("request"),
    sa.Index(None, "trial_id"),
    sa.Index(None, "state", "expires_at"),
)

# Losses of a diverged training are NaN, which is stored as NULL.
curve_points = sa.Table(
    "curve_points",
    metadata,
    sa.Column(
        "attempt_id",
        Identity,
        sa.ForeignKey("attempts.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("train_loss", sa.Double),
    sa.Column("validation_loss", sa.Double),
    sa.Column("validation_error", sa.Double),
    sa.Column("learning_rate", sa.Double, nullable=False),
    sa.Column("sparsity", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("angle", sa.Double),
)

log_lines = sa.Table(
    "log_lines",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("attempt_id", Identity, sa.ForeignKey("attempts.id", ondelete="CASCADE"), nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("level", sa.String(40), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    # Hash of level and message: a repeated report adds nothing.
    sa.Column("fingerprint", sa.String(32), nullable=False),
    sa.UniqueConstraint("attempt_id", "time", "fingerprint"),
)

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column(
        "trial_id",
        Identity,
        sa.ForeignKey("trials.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("metric", sa.String(60), nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("unit", sa.String(40), nullable=False),
    sa.Column("method", sa.String(300), nullable=False),
    sa.Column("target", sa.String(200)),
    sa.Column("split", sa.String(20)),
    sa.Column("standard_error", sa.Double),
    sa.Column("detail", sa.JSON, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("asked_at", sa.Double),  # last time an uploader was told that the file exists
)

trial_artifacts = sa.Table(
    "trial_artifacts",
    metadata,
    sa.Column(
        "trial_id",
        Identity,
        sa.ForeignKey("trials.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("kind", sa.String(60), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("digest", sa.String(80), sa.ForeignKey("artifacts.digest"), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Index(None, "digest"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column(
        "experiment_id",
        Identity,
        sa.ForeignKey("experiments.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("counter", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
)

suggesters = sa.Table(
    "suggesters",
    metadata,
    sa.Column(
        "experiment_id",
        Identity,
        sa.ForeignKey("experiments.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("device", sa.String(200), nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("first_seen", sa.Double, nullable=False),
    sa.Column("last_seen", sa.Double, nullable=False),
    sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("key", sa.String(100), primary_key=True),  # the caller's Idempotency-Key
    sa.Column("fingerprint", sa.String(64), nullable=False),  # hash of the request's kind and body
    _experiment(),
    sa.Column("trial", sa.Integer),
    sa.Column("created_at", sa.Double, nullable=False),
)

# Logins. Tokens and sessions of the dashboard are stored as hashes only.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("scopes", sa.String(100), nullable=False),  # separated by commas
    sa.Column(
        "internal", sa.Boolean, nullable=False
    ),  # created by a server for its own workers; logins stay optional
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
    sa.UniqueConstraint("hash"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("token_id", Identity, sa.ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Index(None, "token_id"),
)

# Pauses after a failure of a machine. Worker or experiment None means all of them.
pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),  # cause, experiment and worker
    sa.Column("worker", sa.String(200)),
    sa.Column("experiment_id", Identity, sa.ForeignKey("experiments.id", ondelete="CASCADE")),
    sa.Column("claims", sa.Boolean, nullable=False),  # whether the pause blocks claims
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),  # consecutive pauses
    sa.Index(None, "experiment_id"),
)

# Results of long computations, keyed by their input.
derived = sa.Table(
    "derived",
    metadata,
    sa.Column(
        "experiment_id",
        Identity,
        sa.ForeignKey("experiments.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("key", sa.String(80), primary_key=True),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
)

# SQLite reuses the highest row id after a deletion. The id of a deleted experiment must never be reused.
deletions = sa.Table(
    "deletions",
    metadata,
    sa.Column("experiment_id", Identity, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("login", sa.BigInteger),
    sa.Column("time", sa.Double, nullable=False),
)

# Uploaded models: measured once, by the server process that holds the token.
models = sa.Table(
    "models",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("digest", sa.String(80), sa.ForeignKey("artifacts.digest"), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String(200)),  # owner of the token that uploaded it; None without logins
    sa.Column("device", sa.String(100), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("token", sa.String(64)),
    sa.Column("expires_at", sa.Double),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("report", sa.JSON(none_as_null=True)),
    sa.Column("failure", sa.Text),
    sa.Index(None, "digest"),
    sa.Index(None, "state"),
)

# Who changed what. No foreign key: the entries stay when the experiment or the token is deleted.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("owner", sa.String(200)),
    sa.Column("token", sa.BigInteger),
    sa.Column("action", sa.String(200), nullable=False),
    sa.Column("target", sa.String(500), nullable=False),
    sa.Column("experiment", sa.BigInteger),
    sa.Column("request", sa.String(100)),
    sa.Index(None, "experiment"),
)

# Exports on request. A row is one trial in some formats. It belongs to the server process that holds its
# token.
export_jobs = sa.Table(
    "export_jobs",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    _experiment(),
    _trial(),
    sa.Column("request", sa.String(32), nullable=False),  # shared by the jobs of one request
    sa.Column("formats", sa.JSON, nullable=False),
    sa.Column("device", sa.String(100), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),  # number of starts, without those given back
    sa.Column("server", sa.String(200)),
    sa.Column("token", sa.String(64)),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("heartbeat_at", sa.Double),
    sa.Column("expires_at", sa.Double),
    sa.Column("ended_at", sa.Double),
    sa.Column("failure", sa.Text),  # why it failed, or why its last attempt failed
    sa.Column("name", sa.String(40)),  # the model's name; None: named after the experiment and the trial
    sa.Index(None, "experiment_id"),
    sa.Index(None, "trial_id"),
    sa.Index(None, "state", "expires_at"),
)
