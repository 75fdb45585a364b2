"""Alembic's entry point: runs the steps on the connection that `service.store.engine` hands over."""

from alembic import context

from service.store.tables import metadata

connection = context.config.attributes["connection"]
# A batch recreates a table where SQLite cannot alter it.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
