"""Where a city's stores are, and how they are opened: at once, or after some patience, and with the schema that is needed.

A store is said by URL, or by a file that holds it, so that a password is in no command line and no environment.
"""

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Annotated, TypeVar

import typer
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import ArgumentError, OperationalError

from api.city import City
from api.cli.errors import UsageProblemError
from scheduler.service.dispatcher import make_id, utc_now
from scheduler.store.database import Database
from scheduler.store.live import Live
from scheduler.store.migrate import ForeignSchemaError, Schema, schema_of

log = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 2
SECRET_BYTES = 32
LOOK_SECONDS = 1.0
"""Between two looks at a store that does not answer yet, or at a schema that is being migrated."""

DatabaseUrl = Annotated[
    str | None, typer.Option("--database", envvar="SUANWANG_DATABASE_URL", show_envvar=True, help="SQLAlchemy URL.")
]
DatabaseFile = Annotated[
    Path | None,
    typer.Option(
        "--database-file", metavar="FILE", envvar="SUANWANG_DATABASE_URL_FILE", show_envvar=True, help="File that holds that URL."
    ),
]
RedisUrl = Annotated[
    str | None, typer.Option("--redis", envvar="SUANWANG_REDIS_URL", show_envvar=True, help="Redis or Valkey URL.")
]
RedisFile = Annotated[
    Path | None,
    typer.Option(
        "--redis-file", metavar="FILE", envvar="SUANWANG_REDIS_URL_FILE", show_envvar=True, help="File that holds that URL."
    ),
]
WaitSeconds = Annotated[
    int, typer.Option("--wait-seconds", min=0, max=3600, help="How long to wait at the start for stores that do not answer yet.")
]

Opened = TypeVar("Opened")


class StoreSilentError(UsageProblemError):
    """A store does not answer, or not yet."""


def open_city(database: str, redis: str) -> City:
    """A city's stores by URL. Raises StoreSilentError where one does not answer."""
    client = redis_client(redis)
    try:
        client.ping()
    except RedisError as error:
        raise StoreSilentError(f"Redis does not answer ({type(error).__name__}): start it, or correct --redis") from error
    return City(open_database(database), Live(client), utc_now, make_id, make_secret)


def redis_client(url: str) -> Redis:
    """A client that connects when it is first used. Raises UsageProblemError for a URL that is none."""
    deadlines = {"socket_timeout": REDIS_TIMEOUT_SECONDS, "socket_connect_timeout": REDIS_TIMEOUT_SECONDS}
    try:
        return Redis.from_url(url, **deadlines, retry=Retry(NoBackoff(), 0))  # whoever asked decides whether to ask again
    except ValueError as error:
        raise UsageProblemError("that is no Redis URL: correct --redis, such as redis://127.0.0.1:6379/0") from error


def open_database(url: str) -> Database:
    """Raises UsageProblemError for a URL that is none, StoreSilentError for a database that does not answer."""
    try:
        database = Database(url)
        with database.engine.connect():
            return database
    except (ArgumentError, ImportError) as error:
        raise UsageProblemError(f"the database cannot be opened ({type(error).__name__}): correct --database") from error
    except OperationalError as error:
        raise StoreSilentError(f"the database does not answer ({type(error).__name__}): start it, or correct --database") from error


def database_url(url: str | None, file: Path | None) -> str:
    """Where the system of record is. Raises UsageProblemError unless exactly one of the two says so."""
    return _said(url, file, "--database")


def redis_url(url: str | None, file: Path | None) -> str:
    """Where Redis is. Raises UsageProblemError unless exactly one of the two says so."""
    return _said(url, file, "--redis")


def _said(url: str | None, file: Path | None, option: str) -> str:
    if (url is None) == (file is None):
        raise UsageProblemError(f"give either {option} or {option}-file")
    if file is None:
        return str(url)
    try:
        found = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageProblemError(f"{file} cannot be read ({why}): correct {option}-file") from error
    if not found:
        raise UsageProblemError(f"{file} is empty: correct {option}-file")
    return found


def waiting(
    opened: Callable[[], Opened],
    wait_seconds: float,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Opened:
    """What `opened` opens, tried again for so long while a store does not answer. Raises UsageProblemError as it does then."""
    ends = monotonic() + wait_seconds
    while True:
        try:
            return opened()
        except StoreSilentError:
            if monotonic() >= ends:
                raise
            sleep(LOOK_SECONDS)


def await_schema(database: Database, stop: Event) -> bool:
    """Waits until the database has this release's schema, or a later one; False if `stop` was set first.

    A database whose migrations are still under way is not ours to touch; whoever asks our probes decides how long is too long.
    Raises UsageProblemError for a schema that is no release's.
    """
    told = False
    while not stop.is_set():
        try:
            if schema_of(database) is not Schema.BEHIND:
                return True
            if not told:
                log.warning("the database is behind this release: waiting for `suanwang migrate`")
            told = True
        except ForeignSchemaError as error:
            raise UsageProblemError(f"{error}: correct --database") from error
        except OperationalError as error:
            log.warning("the database is not answering, trying again: %s", type(error).__name__)
        stop.wait(LOOK_SECONDS)
    return False


def make_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)
