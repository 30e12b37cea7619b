"""The loop: a city that is away, refuses, comes back, asks for another pace; and an agent that is told to stop."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Event, Thread

import httpx
import pytest

from agents.city import BACKOFF_MOST_SECONDS, City, read_token
from agents.node.agent import once, run
from agents.node.collect import Host, NodeIdentity, collect
from agents.node.probes.probe import Reading
from agents.node.watch import Watch
from scheduler.contract.inventory import NodeReport
from scheduler.domain.hardware import shipped_catalogue

IDENTITY = NodeIdentity(hostname="gpu-01", boot="boot-1", agent_version="0.1.0")
AT = datetime(2026, 1, 1, tzinfo=UTC)

Handler = Callable[[httpx.Request], httpx.Response]


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


def _observe(sequence: int) -> NodeReport:
    return _observe_with(Reading())(sequence)


def _observe_with(reading: Reading) -> Callable[[int], NodeReport]:
    host = Host(cpu_cores=1, memory_bytes=1, memory_used_bytes=0)
    return lambda sequence: collect(IDENTITY, host, {"nvml": reading}, shipped_catalogue(), sequence=sequence, observed_at=AT)


def _city(handler: Handler, token: str = "t0ken") -> City:
    return City("http://city", token, httpx.MockTransport(handler))


def _accepted(seconds: int = 10) -> httpx.Response:
    return httpx.Response(200, json={"next_report_seconds": seconds})


def _refused(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "no"})


def test_a_city_that_comes_back_hears_the_latest_snapshot_and_no_history(caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    def down_twice(request: httpx.Request) -> httpx.Response:
        heard.append(json.loads(request.content)["sequence"])
        if len(heard) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(503) if len(heard) == 2 else _accepted()

    stop = Stop(waits=4)
    with caplog.at_level(logging.INFO, "agents.node"):
        run(_observe, lambda: _city(down_twice), stop, Random(1))
    assert heard == [0, 1, 2, 3]
    assert stop.delays[0] <= 0.5
    assert stop.delays[1] <= 1.0
    assert all(9 <= delay <= 11 for delay in stop.delays[2:])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO", "INFO"]
    assert caplog.messages[2:] == ["gpu-01 reports 0 cards, every 10 s", "stopped"]


def test_delays_grow_but_stay_bounded_and_start_small_after_a_success() -> None:
    answers = iter([*[httpx.Response(503)] * 30, _accepted(), httpx.Response(503)])
    stop = Stop(waits=32)
    run(_observe, lambda: _city(lambda _: next(answers)), stop, Random(1))
    assert 5 < max(stop.delays[:30]) <= BACKOFF_MOST_SECONDS
    assert stop.delays[31] <= 0.5


@pytest.mark.parametrize(("asked", "least", "most"), [(0, 0.9, 1.1), (10**9, 270, 330), (20, 18, 22)])
def test_the_city_sets_the_pace_within_limits(asked: int, least: float, most: float) -> None:
    stop = Stop(waits=20)
    run(_observe, lambda: _city(lambda _: _accepted(asked)), stop, Random(1))
    assert all(least <= delay <= most for delay in stop.delays)
    assert len(set(stop.delays)) > 1


def test_a_revoked_token_is_explained_and_its_replacement_is_picked_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("old-secret")

    def only_new(request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] == "Bearer new-secret":
            return _accepted()
        token_file.write_text("new-secret")
        return _refused(401, "token_revoked")

    stop = Stop(waits=2)
    with caplog.at_level(logging.INFO, "agents.node"):
        run(_observe, lambda: _city(only_new, read_token(token_file)), stop, Random(1))
    assert 54 <= stop.delays[0] <= 66
    assert 9 <= stop.delays[1] <= 11
    assert "token_revoked" in caplog.messages[0]
    assert "put a valid one into the token file" in caplog.messages[0]
    assert "secret" not in caplog.text


def test_another_refusal_is_one_line_with_other_advice(caplog: pytest.LogCaptureFixture) -> None:
    stop = Stop(waits=1)
    with caplog.at_level(logging.ERROR, "agents.node"):
        run(_observe, lambda: _city(lambda _: _refused(422, "invalid\nbody")), stop, Random(1))
    (line,) = caplog.messages
    assert line.startswith("the city refused (422 invalid body): no; check that --city")


def test_a_token_file_that_vanishes_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = Stop(waits=1)
    with caplog.at_level(logging.ERROR, "agents.node"):
        run(_observe, lambda: _city(lambda _: _accepted(), read_token(tmp_path / "none")), stop, Random(1))
    assert caplog.messages[0].startswith("no token to report with: ")
    assert 54 <= stop.delays[0] <= 66


def test_a_probes_trouble_is_logged_once_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "agents.node"):
        run(_observe_with(Reading(error="timeout")), lambda: _city(lambda _: _accepted()), Stop(waits=5), Random(1))
    assert caplog.messages == ["probe nvml: timeout"]


def test_a_waiting_agent_stops_at_once() -> None:
    reported, stop = Event(), Event()

    def accept(_: httpx.Request) -> httpx.Response:
        reported.set()
        return _accepted(300)

    agent = Thread(target=run, args=(_observe, lambda: _city(accept), stop, Random(1)))
    agent.start()
    assert reported.wait(5)
    stop.set()
    agent.join(5)
    assert not agent.is_alive()


def test_once_is_one_report_of_this_machine() -> None:
    report = once(IDENTITY, Watch(()), shipped_catalogue(), sequence=3, now=AT)
    assert (report.hostname, report.sequence, report.observed_at, report.probes) == ("gpu-01", 3, AT, [])
