"""The history of the schema, one file a step, run by Alembic inside the transaction `scheduler.store.migrate` opens."""
