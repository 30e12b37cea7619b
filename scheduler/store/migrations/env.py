"""Alembic's entry: the connection is handed over by `scheduler.store.migrate`; there is no configuration file."""

from alembic import context

from scheduler.store.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
