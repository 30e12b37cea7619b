"""Where the stores are said to be, and how long one that does not answer is waited for."""

import logging
from pathlib import Path
from threading import Event

import pytest

from api.cli import stores
from api.cli.errors import UsageProblemError
from api.cli.stores import StoreSilentError, await_schema, database_url, open_database, redis_url, waiting
from scheduler.store.database import Database
from scheduler.store.migrate import migrate

URL = "postgresql+psycopg://suanwang:secret@db/suanwang"


def test_a_url_is_said_outright_or_by_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{URL}\n")
    assert database_url(URL, None) == database_url(None, file) == URL
    assert redis_url("redis://a", None) == "redis://a"


@pytest.mark.parametrize(
    ("url", "text", "said"),
    [
        (None, None, "give either --database or --database-file"),
        (URL, URL, "give either --database or --database-file"),
        (None, " \n", "is empty: correct --database-file"),
        (None, b"\xff\xfe", r"cannot be read \(not text\): correct --database-file"),
    ],
)
def test_what_says_nothing_or_too_much_is_refused(tmp_path: Path, url: str | None, text: str | bytes | None, said: str) -> None:
    file = tmp_path / "url"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageProblemError, match=said) as refused:
        database_url(url, None if text is None else file)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageProblemError, match=r"redis-url cannot be read \(No such file or directory\): correct --redis-file"):
        redis_url(None, tmp_path / "redis-url")


@pytest.mark.parametrize(("patience", "tries"), [(0, 1), (3, 4), (10, 5)])
def test_a_silent_store_is_asked_again_until_patience_ends(patience: int, tries: int) -> None:
    now, asked = [0.0], []

    def opened() -> str:
        asked.append(now[0])
        if len(asked) < 5:
            raise StoreSilentError("silent")
        return "open"

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def open_() -> str:
        return waiting(opened, patience, lambda: now[0], sleep)

    if tries < 5:
        with pytest.raises(StoreSilentError):
            open_()
    else:
        assert open_() == "open"
    assert len(asked) == tries


def test_a_url_that_is_none_is_not_tried_again() -> None:
    with pytest.raises(UsageProblemError) as refused:
        waiting(lambda: open_database("not a url"), 60)
    assert not isinstance(refused.value, StoreSilentError)


def test_a_silent_database_is_told_apart() -> None:
    with pytest.raises(StoreSilentError, match="the database does not answer") as refused:
        open_database("postgresql+psycopg://suanwang:secret@127.0.0.1:1/suanwang")
    assert "secret" not in str(refused.value)


class Migrating(Event):
    """A stop event whose third wait finds the database migrated."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database, self.waits = database, 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        if self.waits == 3:
            migrate(self._database)
        return self.is_set()


def test_a_schema_that_is_behind_is_waited_for_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(f"sqlite:///{tmp_path / 'city.db'}")
    stop = Migrating(database)
    with caplog.at_level(logging.WARNING, stores.__name__):
        assert await_schema(database, stop)
    assert stop.waits == 3
    assert [record.message for record in caplog.records] == ["the database is behind this release: waiting for `suanwang migrate`"]
    database.close()


def test_who_is_told_to_stop_waits_no_longer(tmp_path: Path) -> None:
    database, stop = Database(f"sqlite:///{tmp_path / 'city.db'}"), Event()
    stop.set()
    assert not await_schema(database, stop)
    database.close()
