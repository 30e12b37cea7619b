"""The relay: the stream becomes what the end of the journal is, from wherever it stands and however often it is asked to."""

import json
from threading import Event, Thread
from typing import Any

import pytest
from prometheus_client import generate_latest
from redis import ConnectionError as RedisConnectionError
from redis import Redis
from redis.backoff import ConstantBackoff
from sqlalchemy.exc import OperationalError

from scheduler.service import relay
from scheduler.service.journal import stored
from scheduler.service.relay import Relay, RelayMetrics
from scheduler.store.database import CITY, Database
from scheduler.store.stream import EMPTY, STREAM, CostStream
from scheduler.store.tables import CostRecordRow
from tests.service.postings import post_records
from tests.store.databases import valkey

pytestmark = pytest.mark.processes


@pytest.fixture
def redis() -> "Redis":
    valkey().flushall()
    return valkey()


def make(database: Database, window: int = 1000, redis: Any = None) -> tuple[Relay, RelayMetrics]:
    metrics = RelayMetrics()
    stream = CostStream(redis or valkey(), window)
    return Relay(database, stream, "https://city.example", metrics, ConstantBackoff(0)), metrics


def copy(database: Database, window: int = 1000) -> None:
    copier, _ = make(database, window)
    while copier.turn():
        pass


def entries(redis: "Redis") -> list[tuple[int, dict[str, Any]]]:
    found: Any = redis.xrange(STREAM)
    return [(int(id_.partition(b"-")[0]), json.loads(fields[b"event"])) for id_, fields in found]


def sequences(redis: "Redis") -> list[int]:
    return [sequence for sequence, _ in entries(redis)]


def served(database: Database) -> list[Any]:
    with database.read(CITY) as session:
        rows = session.query(CostRecordRow).order_by(CostRecordRow.sequence).all()
        return [json.loads(stored(row).served()) for row in rows]


def test_every_record_is_an_event_under_its_sequence(city: Database, redis: "Redis") -> None:
    post_records(city, 3)
    copy(city)
    found = entries(redis)
    assert [event["data"] for _, event in found] == served(city)
    assert [(sequence, event["id"]) for sequence, event in found] == [(n, f"cost-{n:012d}-n") for n in (1, 2, 3)]
    post_records(city, 2)
    copy(city)
    assert sequences(redis) == [1, 2, 3, 4, 5]


def test_an_empty_journal_makes_no_stream(city: Database, redis: "Redis") -> None:
    copy(city)
    assert not redis.exists(STREAM)
    assert CostStream(redis, 10).end() == EMPTY


def test_it_goes_on_where_the_stream_ends_whoever_wrote_that(
    city: Database, redis: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    post_records(city, 7)
    one, _ = make(city)
    other, counted = make(city)
    assert one.turn()
    assert other.turn()
    assert sequences(redis) == [1, 2, 3, 4]
    copy(city)
    assert sequences(redis) == [1, 2, 3, 4, 5, 6, 7]
    assert b"suanwang_relay_records_total 2.0" in generate_latest(counted.registry)


def test_what_is_there_already_is_refused_by_redis_itself(city: Database, redis: "Redis") -> None:
    stream = CostStream(redis, 10)
    assert stream.append([(1, "{}"), (2, "{}")]) == 2
    assert stream.append([(1, "{}"), (2, "{}"), (3, "{}")]) == 1
    assert sequences(redis) == [1, 2, 3]


def test_relays_at_once_do_no_harm(city: Database, redis: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BATCH", 3)
    post_records(city, 60)
    threads = [Thread(target=copy, args=(city,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copy(city)
    assert sequences(redis) == list(range(1, 61))


def test_a_flushed_stream_is_filled_again_from_the_window(city: Database, redis: "Redis") -> None:
    post_records(city, 30)
    copy(city)
    redis.flushall()
    copier, metrics = make(city, window=10)
    while copier.turn():
        pass
    assert sequences(redis) == list(range(21, 31))
    assert b"suanwang_relay_refills_total 1.0" in generate_latest(metrics.registry)


def test_a_stream_that_fell_far_behind_goes_on_at_the_window(city: Database, redis: "Redis") -> None:
    post_records(city, 5)
    copy(city)
    post_records(city, 300)
    copy(city, window=100)
    assert sequences(redis)[-101:] == [5, *range(206, 306)]


def test_the_stream_is_bounded(city: Database, redis: "Redis") -> None:
    for _ in range(6):
        post_records(city, 100)
        copy(city, window=50)
    kept = sequences(redis)
    assert kept[-50:] == list(range(551, 601))
    assert len(kept) <= 50 + 100, "Redis trims in pieces of a hundred"


def test_a_group_made_before_the_first_record_gets_them_all(city: Database, redis: "Redis") -> None:
    redis.xgroup_create(STREAM, "ledger", id="0", mkstream=True)
    post_records(city, 2)
    copy(city)
    read: Any = redis.xreadgroup("ledger", "one", {STREAM: ">"})
    assert [id_ for id_, _ in read[0][1]] == [b"1-0", b"2-0"]


@pytest.mark.parametrize("what", ["stranger", "later", "trimmed", "another record"])
def test_a_stream_of_another_history_begins_anew(city: Database, redis: "Redis", what: str) -> None:
    post_records(city, 3)
    copy(city)
    if what == "stranger":
        redis.xadd(STREAM, {"x": "y"}, id="9-9")
    elif what == "later":  # the database was put back to an earlier state, and the stream was not
        redis.xadd(STREAM, {"event": json.dumps({"hash": "f" * 64})}, id="9-0")
    elif what == "trimmed":
        redis.xtrim(STREAM, maxlen=0, approximate=False)
    else:
        redis.delete(STREAM)
        redis.xadd(STREAM, {"event": json.dumps({"hash": "f" * 64})}, id="3-0")
    copy(city)
    assert sequences(redis) == [1, 2, 3]
    assert [event["data"] for _, event in entries(redis)] == served(city)


def test_an_error_that_is_no_double_is_told(city: Database, redis: "Redis") -> None:
    redis.set(STREAM, "no stream")
    copier, _ = make(city)
    with pytest.raises(Exception, match="WRONGTYPE"):
        copier.turn()


def test_it_says_how_far_it_is_behind(city: Database, redis: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BATCH", 4)
    post_records(city, 10)
    copier, metrics = make(city)
    lags = []
    while copier.turn():
        lags.append(metrics.lag.collect())
    assert [next(iter(lag)).samples[0].value for lag in lags] == [6, 2]
    assert b"suanwang_relay_lag_records 0.0" in generate_latest(metrics.registry)


class Absent:
    """A store that does not answer the first few times."""

    def __init__(self, real: Any, error: Exception, times: int) -> None:
        self._real, self._error, self._times = real, error, times

    def __getattr__(self, name: str) -> Any:
        self._times -= 1
        if self._times >= 0:
            raise self._error
        return getattr(self._real, name)


@pytest.mark.parametrize("store", ["redis", "sql"])
def test_while_a_store_is_away_it_is_not_ready_and_tries_again(city: Database, redis: "Redis", store: str) -> None:
    post_records(city, 2)
    stop, told, beats = Event(), [], list[bool]()

    class Pauses(ConstantBackoff):
        def compute(self, failures: int) -> float:
            told.append((failures, beats[-1]))
            return 0

    metrics, times = RelayMetrics(), 3
    away = Absent(redis, RedisConnectionError("gone"), times if store == "redis" else 0)
    database: Any = Absent(city, OperationalError("gone", {}, Exception()), times if store == "sql" else 0)
    copier = Relay(database, CostStream(away, 10), "https://c", metrics, Pauses(0))  # type: ignore[arg-type]
    running = Thread(target=copier.run, args=(stop, beats.append))
    running.start()
    while not redis.xlen(STREAM) or not beats[-1]:
        assert running.is_alive()
    stop.set()
    running.join()
    assert told == [(1, False), (2, False), (3, False)]
    assert sequences(redis) == [1, 2]
    assert f'suanwang_relay_failures_total{{store="{store}"}} 3.0'.encode() in generate_latest(metrics.registry)
