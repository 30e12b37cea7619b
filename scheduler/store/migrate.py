"""Bring a database to this release's schema. Safe to run from several processes at once and at every start.

A release's migrations leave the release before it able to run (docs/adr/0021-chart.md): so while a city is upgraded, or put back to
the release before, a program may find a schema that is later than its own, and works with it.
"""

from enum import StrEnum
from functools import cache
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from scheduler.store.database import Database

_LOCK_KEY = 0x5A17  # any number, as long as every release uses the same


class ForeignSchemaError(Exception):
    """The database has a schema that is not of this product."""


class Schema(StrEnum):
    """How a database's schema stands to the one this release needs."""

    BEHIND = "behind"
    CURRENT = "current"
    LATER = "later"


def migrate(database: Database) -> Schema:
    """Apply every missing migration in one transaction; on failure the database is as before. Returns how its schema stands then.

    Raises ForeignSchemaError, and leaves alone what is of a later release.
    """
    with database.writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        if _schema(connection) is Schema.LATER:
            return Schema.LATER
        command.upgrade(config(connection), "head")
    return Schema.CURRENT


def schema_of(database: Database) -> Schema:
    """Changes nothing. Raises ForeignSchemaError."""
    with database.engine.connect() as connection:
        return _schema(connection)


def config(connection: Connection) -> Config:
    """Alembic's configuration for migrations over an open connection."""
    found = _location()
    found.attributes["connection"] = connection
    return found


def _schema(connection: Connection) -> Schema:
    """Revisions are numbered: one that this release does not know and that comes after its own is of a later release."""
    current, known = MigrationContext.configure(connection).get_current_revision(), _revisions()
    if current == known[-1]:
        return Schema.CURRENT
    if current is None or current in known:
        return Schema.BEHIND
    if not (current.isdecimal() and current > known[-1]):
        raise ForeignSchemaError(f"the database has the schema {current!r}, which no release of Suanwang has")
    return Schema.LATER


@cache
def _revisions() -> tuple[str, ...]:
    """Of this release, the first one first."""
    return tuple(sorted(each.revision for each in ScriptDirectory.from_config(_location()).walk_revisions()))


def _location() -> Config:
    found = Config()
    found.set_main_option("script_location", str(files("scheduler.store").joinpath("migrations")))
    return found
