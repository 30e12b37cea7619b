"""Where the commands for exports and statements read the journal: a data folder, a database by URL, or a city's API."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Annotated

import typer

from api.cli.connection import connect, open_existing
from api.cli.errors import UsageProblemError
from api.cli.stores import database_url, open_database
from api.client import Client
from scheduler.billing.focus import Names
from scheduler.billing.months import Month
from scheduler.service.months import Read, Record, stored, stored_head, stored_names
from scheduler.store.database import CITY, Database, Scope

QUIET_SECONDS = 2.0
"""What takes no longer than this says nothing while it works; after it, it says this often how far it is."""

MonthArgument = Annotated[str, typer.Argument(metavar="YYYY-MM", help="A month in Asia/Shanghai, such as 2026-11.")]


StoredAt = tuple[str | None, Path | None]
"""`--database` and `--database-file` as they were given, if they were."""


@dataclass(frozen=True)
class Source:
    """A journal to read: `read` is of everybody's records, `read_own` of the tenant's that was asked for, if there is an index."""

    head: int
    names: Names
    read: Read
    read_own: Read


@contextmanager
def open_source(
    data: Path | None, store: StoredAt, url: str | None, token_file: Path | None, tenant: str | None
) -> Iterator[Source]:
    """The journal in a data folder (which need not run), in a database, or of the city at `url`, for a finance token.

    Raises UsageProblemError where there is none, or no such tenant in it.
    """
    if url is not None:
        with connect(data, url, token_file, "finance", "en") as city:
            source = Source(city.head_sequence(), _served_names(city), _served(city), _served(city))
            yield _checked(source, tenant)
        return
    with open_store(data, store) as database:
        own = CITY if tenant is None else Scope(tenant=tenant)
        source = Source(stored_head(database).sequence, stored_names(database), stored(database), stored(database, own))
        yield _checked(source, tenant)


@contextmanager
def open_store(data: Path | None, store: StoredAt) -> Iterator[Database]:
    """A system of record by its URL or the file that holds it, else the one in a data folder."""
    database = open_database(database_url(*store) if any(store) else open_existing(data).database_url)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete, and not at all if that fails.

    Raises UsageProblemError where it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise UsageProblemError(f"{path} cannot be written ({error.strerror}): choose another --out") from error
    finally:
        part.unlink(missing_ok=True)


def month_of(text: str, option: str) -> Month:
    """The month somebody wrote. Raises UsageProblemError naming the option."""
    try:
        return Month.parse(text)
    except ValueError as error:
        raise UsageProblemError(f"{option}: {error}") from None


class Progress:
    """Says on stderr how far a long work is, and nothing of a short one."""

    def __init__(self, total: int, noun: str) -> None:
        self._total, self._noun, self._done = total, noun, 0
        self._tell_at = time.monotonic() + QUIET_SECONDS

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() >= self._tell_at:
            typer.echo(f"{self._done:,} of at most {self._total:,} {self._noun}", err=True)
            self._tell_at = time.monotonic() + QUIET_SECONDS


def _checked(source: Source, tenant: str | None) -> Source:
    if tenant is not None and tenant not in source.names.tenants:
        raise UsageProblemError(f"--tenant: there is no tenant {tenant}")
    return source


def _served(city: Client) -> Read:
    def read(after: int, last: int, limit: int) -> list[Record]:
        if after >= last:
            return []
        return list(islice(takewhile(lambda record: record["sequence"] <= last, city.cost_records(after)), limit))

    return read


def _served_names(city: Client) -> Names:
    providers = city.providers()
    return Names(
        tenants={tenant.id: tenant.name for tenant in city.tenants()},
        providers={provider.id: provider.name for provider in providers},
        cities={**{each.id: each.city for each in city.clusters()}, **{each.id: each.city for each in providers}},
    )
