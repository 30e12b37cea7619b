"""Bring a database to this release's schema. Safe to run from several processes at once and at every start."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from scheduler.store.database import Database

_LOCK_KEY = 0x5A17  # any number, as long as every release uses the same


def migrate(database: Database) -> None:
    """Apply every missing migration in one transaction; on failure the database is as before."""
    with database.writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        command.upgrade(config(connection), "head")


def config(connection: Connection) -> Config:
    """Alembic's configuration for migrations over an open connection."""
    found = Config()
    found.set_main_option("script_location", str(files("scheduler.store").joinpath("migrations")))
    found.attributes["connection"] = connection
    return found
