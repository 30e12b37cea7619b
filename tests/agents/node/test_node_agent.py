"""The loop: a city that is away, refuses, comes back, asks for another pace; and an agent that is told to stop."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest

from agents.node.agent import FIRST_WITHIN_SECONDS, once, run
from agents.node.collect import Host, Json, NodeIdentity, collect
from agents.node.probes.probe import Reading
from agents.node.watch import Watch
from agents.terms import BACKOFF_MOST_SECONDS, CityRefusedError, CityUnavailableError, read_token
from scheduler.domain.hardware import shipped_catalogue

IDENTITY = NodeIdentity(hostname="gpu-01", boot="boot-1", agent_version="0.1.0")
AT = datetime(2026, 1, 1, tzinfo=UTC)

Handler = Callable[[Json], int]


class City:
    """A city that answers each report as `handler` does."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def report(self, report: Json) -> int:
        return self._handler(report)


class Stop(Event):
    """A stop event on which no time passes: it notes each wait, and is set during the last one."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self._waits = waits
        self.delays: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            assert timeout is not None
            self.delays.append(timeout)
            if len(self.delays) == self._waits:
                self.set()
        return self.is_set()


def _observe(sequence: int) -> Json:
    return _observe_with(Reading())(sequence)


def _observe_with(reading: Reading) -> Callable[[int], Json]:
    host = Host(cpu_cores=1, memory_bytes=1, memory_used_bytes=0)
    return lambda sequence: collect(IDENTITY, host, {"nvml": reading}, shipped_catalogue(), sequence=sequence, observed_at=AT)


def _accept(_: Json) -> int:
    return 10


def _unavailable(retry_after_seconds: int | None = None) -> CityUnavailableError:
    return CityUnavailableError("http://city answered 503", retry_after_seconds)


def _scripted(*answers: int | Exception) -> City:
    """A city that gives these answers, one for each report."""
    left = iter(answers)

    def answer(_: Json) -> int:
        said = next(left)
        if isinstance(said, Exception):
            raise said
        return said

    return City(answer)


def test_a_city_that_comes_back_hears_the_latest_snapshot_and_no_history(caplog: pytest.LogCaptureFixture) -> None:
    heard, beats = [], list[bool]()

    def down_twice(report: Json) -> int:
        heard.append(report["sequence"])
        if len(heard) <= 2:
            raise _unavailable()
        return 10

    stop = Stop(waits=4)
    with caplog.at_level(logging.INFO, "agents.node"):
        run(_observe, lambda: City(down_twice), stop, Random(1), beat=beats.append)
    assert heard == [0, 1, 2, 3]
    assert beats[:4] == [False, False, True, True]
    assert stop.delays[0] <= 0.5
    assert stop.delays[1] <= 1.0
    assert all(9 <= delay <= 11 for delay in stop.delays[2:])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO", "INFO"]
    assert caplog.messages[2:] == ["gpu-01 reports 0 cards, every 10 s", "stopped"]


def test_delays_grow_but_stay_bounded_and_start_small_after_a_success() -> None:
    city, stop = _scripted(*[_unavailable()] * 30, 10, _unavailable()), Stop(waits=32)
    run(_observe, lambda: city, stop, Random(1))
    assert 5 < max(stop.delays[:30]) <= BACKOFF_MOST_SECONDS
    assert stop.delays[31] <= 0.5


@pytest.mark.parametrize(("asked", "least", "most"), [(0, 0.9, 1.1), (10**9, 270, 330), (20, 18, 22)])
def test_the_city_sets_the_pace_within_limits(asked: int, least: float, most: float) -> None:
    stop = Stop(waits=20)
    run(_observe, lambda: City(lambda _: asked), stop, Random(1))
    assert all(least <= delay <= most for delay in stop.delays)
    assert len(set(stop.delays)) > 1


def test_a_revoked_token_is_explained_and_its_replacement_is_picked_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("old-secret")

    def connect() -> City:
        token = read_token(token_file)

        def only_new(_: Json) -> int:
            if token == "new-secret":
                return 10
            token_file.write_text("new-secret")
            raise CityRefusedError(401, "token_revoked", "no")

        return City(only_new)

    stop = Stop(waits=2)
    with caplog.at_level(logging.INFO, "agents.node"):
        run(_observe, connect, stop, Random(1))
    assert 54 <= stop.delays[0] <= 66
    assert 9 <= stop.delays[1] <= 11
    assert "token_revoked" in caplog.messages[0]
    assert "put a valid one into the token file" in caplog.messages[0]
    assert "secret" not in caplog.text


def test_another_refusal_is_one_line_with_other_advice(caplog: pytest.LogCaptureFixture) -> None:
    stop = Stop(waits=1)
    with caplog.at_level(logging.ERROR, "agents.node"):
        run(_observe, lambda: _scripted(CityRefusedError(422, "invalid\nbody", "no")), stop, Random(1))
    (line,) = caplog.messages
    assert line.startswith("the city refused (422 invalid body): no; check that --city")


def test_a_token_file_that_vanishes_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = Stop(waits=1)
    with caplog.at_level(logging.ERROR, "agents.node"):
        run(_observe, lambda: _scripted(len(read_token(tmp_path / "none"))), stop, Random(1))
    assert caplog.messages[0].startswith("no token to report with: ")
    assert 54 <= stop.delays[0] <= 66


def test_a_probes_trouble_is_logged_once_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "agents.node"):
        run(_observe_with(Reading(error="timeout")), lambda: City(_accept), Stop(waits=5), Random(1))
    assert caplog.messages == ["probe nvml: timeout"]


def test_a_waiting_agent_stops_at_once() -> None:
    reported, stop = Event(), Event()

    def accept(_: Json) -> int:
        reported.set()
        return 300

    agent = Thread(target=run, args=(_observe, lambda: City(accept), stop, Random(1)))
    agent.start()
    assert reported.wait(5)
    stop.set()
    agent.join(5)
    assert not agent.is_alive()


def test_once_is_one_report_of_this_machine() -> None:
    report = once(IDENTITY, Watch(()), shipped_catalogue(), sequence=3, now=AT)
    assert (report["hostname"], report["sequence"], report["observed_at"]) == ("gpu-01", 3, "2026-01-01T00:00:00.000000Z")
    assert report["probes"] == []


def test_the_first_report_comes_after_a_random_part_of_the_time_given() -> None:
    firsts = []
    for seed in range(20):
        stop = Stop(waits=2)
        run(_observe, lambda: City(_accept), stop, Random(seed), FIRST_WITHIN_SECONDS)
        firsts.append(stop.delays[0])
    assert all(0 <= first <= FIRST_WITHIN_SECONDS for first in firsts)
    assert min(firsts) < 2 and max(firsts) > 8


def test_an_agent_that_is_stopped_before_its_first_report_makes_none() -> None:
    stop = Stop(waits=1)
    run(_observe, lambda: _scripted(), stop, Random(1), FIRST_WITHIN_SECONDS)
    assert len(stop.delays) == 1


def test_a_city_that_says_when_to_come_again_is_not_asked_before_then_nor_by_all_at_once() -> None:
    delays = []
    for seed in range(20):
        stop = Stop(waits=1)
        run(_observe, lambda: _scripted(_unavailable(20)), stop, Random(seed))
        delays += stop.delays
    assert all(20 <= delay <= 40 for delay in delays)
    assert max(delays) - min(delays) > 5
