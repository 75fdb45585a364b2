"""Entry point of Alembic. It runs the migrations on the connection that `service.store.engine` passes."""

from alembic import context

from service.store.tables import metadata

connection = context.config.attributes["connection"]
# Batch mode recreates a table that SQLite cannot alter.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
