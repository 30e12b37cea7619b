"""The loop against a city in memory: everything that may be lost or refused, and what must not change by it."""

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from agents.city import City, TokenFile
from agents.cluster.agent import OBSERVE_SECONDS, REPORTS_SECONDS, Agent, CityPort, Reports, run
from agents.cluster.archive import Archive
from agents.cluster.launcher import Launcher, LauncherUnavailableError, LaunchRefusedError
from agents.cluster.site import RecordedNodes, SiteFile
from agents.cluster.watch import Watch
from agents.terms import RETRY_AFTER_SPREAD, CityRefusedError, CityUnavailableError
from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.sync import Cause, RunState, SyncRequest, SyncResponse
from scheduler.domain.hardware import shipped_catalogue
from tests.agents.cluster.doubles import REFUSED, SITE, UNAVAILABLE, Clock, MemoryCity, MemoryLauncher, desired

KEY = ("att-1", 1)


class Loop:
    """The loop's rounds, each when a sync is due, with nobody who waits in between."""

    def __init__(self, city: CityPort, launcher: Launcher, archive: Archive | None = None) -> None:
        rng = random.Random(1)
        self.watch = Watch(city, "c1", threading.Event(), rng)
        self.agent = Agent(city, launcher, self.watch, cluster="c1", name="test", clock=Clock(), rng=rng, archive=archive)
        self.now = 0.0

    def round(self, after_seconds: float = 60.0) -> float:
        self.now += after_seconds
        return self.agent.round(self.now)


def agent(city: CityPort, launcher: Launcher) -> Loop:
    return Loop(city, launcher)


def test_a_run_goes_from_grant_to_oblivion() -> None:
    city, cluster = MemoryCity(desired=[desired()]), MemoryLauncher(logs={KEY: "训练完成\n".encode()})
    loop = agent(city, cluster)
    assert loop.round() == 0.0, "what was launched is told at once"
    assert cluster.launched == [KEY]
    loop.round()
    assert [run.state for run in city.requests[-1].observed] == [RunState.RUNNING]
    cluster.end(KEY, RunState.SUCCEEDED)
    loop.round()
    assert not cluster.forgotten, "the city still desires it: its ending may not have arrived"
    city.desired = []
    loop.round()
    assert cluster.forgotten == [KEY]
    assert city.texts[KEY].decode() == "训练完成\n"
    loop.round()
    assert city.requests[-1].observed == []


def test_lost_answers_change_nothing() -> None:
    city, cluster = MemoryCity(desired=[desired()], lose_answers=True), MemoryLauncher(logs={KEY: b"x" * 10})
    loop = agent(city, cluster)
    for _ in range(3):
        loop.round()
    assert cluster.launched == []
    city.lose_answers = False
    loop.round()
    city.lose_answers = True
    for _ in range(3):
        loop.round()
    city.lose_answers = False
    loop.round()
    assert cluster.launched == [KEY]
    assert not cluster.stopped
    assert city.texts[KEY] == b"x" * 10


@pytest.mark.parametrize("trouble", [UNAVAILABLE, REFUSED])
def test_a_silent_or_unwilling_city_stops_no_run(trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    city, cluster = MemoryCity(desired=[desired()]), MemoryLauncher()
    loop = agent(city, cluster)
    loop.round()
    city.trouble, city.desired = trouble, []
    with caplog.at_level(logging.WARNING):
        waits = [loop.round() for _ in range(12)]
    assert cluster.runs[KEY].state is RunState.RUNNING
    assert len(caplog.records) == 1, "one line when trouble begins, not one for each try"
    assert max(waits) > 5
    assert max(waits) <= 30
    city.trouble = None
    loop.round()
    assert cluster.stopped == [KEY]


def test_while_the_cluster_is_silent_nothing_is_said_of_its_runs() -> None:
    city, cluster = MemoryCity(desired=[desired()]), MemoryLauncher()
    loop = agent(city, cluster)
    loop.round()
    told = len(city.requests)
    cluster.silent = True
    loop.round()
    assert len(city.requests) == told, "an empty list would declare every run gone"


def test_a_refused_launch_is_told_until_it_is_no_longer_desired() -> None:
    city = MemoryCity(desired=[desired(), desired("att-2", 2)])
    cluster = MemoryLauncher(fails_with=LaunchRefusedError("no such folder"))
    loop = agent(city, cluster)
    for _ in range(3):
        loop.round()
    told = {run.attempt: run for run in city.requests[-1].observed}
    assert told.keys() == {"att-1", "att-2"}
    assert told["att-1"].state is RunState.FAILED
    assert told["att-1"].cause is Cause.LAUNCH_REFUSED
    assert told["att-1"].detail == "no such folder"
    city.desired = []
    loop.round()
    loop.round()
    assert city.requests[-1].observed == []


def test_an_unexpected_failure_tells_its_kind_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    city = MemoryCity(desired=[desired()])
    cluster = MemoryLauncher(fails_with=RuntimeError("TOKEN=s3cret"))
    loop = agent(city, cluster)
    loop.round()
    loop.round()
    [run] = city.requests[-1].observed
    assert run.cause is Cause.LAUNCH_REFUSED
    assert run.detail is not None
    assert "RuntimeError" in run.detail
    assert "s3cret" not in run.detail + caplog.text


def test_a_launch_the_cluster_cannot_take_now_is_tried_again() -> None:
    city = MemoryCity(desired=[desired()])
    cluster = MemoryLauncher(fails_with=LauncherUnavailableError("starting up"))
    loop = agent(city, cluster)
    loop.round()
    cluster.fails_with = None
    loop.round()
    assert cluster.launched == [KEY]
    assert not any(run.cause for request in city.requests for run in request.observed)


def test_a_run_that_can_never_be_launched_just_now_holds_up_no_other() -> None:
    city = MemoryCity(desired=[desired(f"att-{number}", number) for number in (1, 2, 3)])
    cluster = MemoryLauncher(unavailable_for={("att-1", 1), ("att-2", 2)})
    loop = agent(city, cluster)
    for _ in range(3):
        loop.round()
    assert cluster.launched == [("att-3", 3)]
    cluster.unavailable_for.clear()
    loop.round()
    assert sorted(cluster.launched) == [("att-1", 1), ("att-2", 2), ("att-3", 3)]


def test_a_restarted_agent_takes_up_where_the_last_one_was_killed() -> None:
    city, cluster = MemoryCity(desired=[desired()]), MemoryLauncher(logs={KEY: b"a" * 100})
    first = agent(city, cluster)
    first.round()
    first.round()
    cluster.logs[KEY] += b"b" * 100
    cluster.end(KEY, RunState.FAILED)
    city.desired = []
    second = agent(city, cluster)
    second.round()
    assert not cluster.forgotten
    second.round()
    second.round()
    assert cluster.forgotten == [KEY]
    assert cluster.launched == [KEY]
    assert city.texts[KEY] == b"a" * 100 + b"b" * 100


def test_reports_are_all_posted_at_once_and_then_spread() -> None:
    city, clock = MemoryCity(), Clock()
    nodes = RecordedNodes(SiteFile.model_validate(SITE), shipped_catalogue(), boot="boot-1", agent_version="1", clock=clock)
    reports = Reports(city, nodes, random.Random(1), lambda: 0.0)
    reports.post_due(0.0)
    assert len(city.reports) == 30
    dues = []
    now = 0.0
    while now < 10.0:
        now = reports.next_due()
        dues.append(now)
        reports.post_due(now)
    assert len(set(dues)) > 25, "spread, not a wave"
    assert all(7.0 <= due <= 10.0 for due in dues[:-1])
    sent = [report.sequence for report in city.reports if report.hostname == "n-01"]
    assert sent == sorted(set(sent))
    city.trouble = UNAVAILABLE
    count = len(city.reports)
    reports.post_due(now + 60)
    assert reports.next_due() > now + 60
    assert len(city.reports) == count


def test_stop_is_prompt_and_leaves_runs_alone() -> None:
    cluster, synced, beats = MemoryLauncher(), threading.Event(), list[bool]()
    stop, wake = threading.Event(), threading.Event()
    city = MemoryCity(desired=[desired()], on_sync=lambda _request: synced.set())
    thread = threading.Thread(
        target=lambda: run(
            city,
            cluster,
            cluster="c1",
            name="test",
            stop=stop,
            wake=wake,
            clock=Clock(),
            monotonic=time.monotonic,
            rng=random.Random(1),
            beat=beats.append,
        )
    )
    thread.start()
    assert synced.wait(5)
    asked = time.monotonic()
    stop.set()
    wake.set()
    thread.join(5)
    assert time.monotonic() - asked < 0.5
    assert cluster.runs[KEY].state is RunState.RUNNING
    assert set(beats) == {True}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    return file


def over_http(answer: Callable[[httpx.Request], httpx.Response], token_file: Path) -> City:
    return City("http://city", TokenFile(token_file), transport=httpx.MockTransport(answer))


def test_the_same_loop_over_http(token_file: Path) -> None:
    cluster = MemoryLauncher(logs={KEY: "你好\n".encode()})
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        if request.url.path == "/v1/clusters/c1/logs":
            return httpx.Response(200, json={"positions": [{"attempt": "att-1", "fencing_token": 1, "next_offset": 7}]})
        SyncRequest.model_validate_json(request.content)
        return httpx.Response(
            200, content=SyncResponse(desired=[desired()], revision="1-1", next_sync_milliseconds=500).model_dump_json()
        )

    with over_http(answer, token_file) as city:
        loop = agent(city, cluster)
        assert loop.round() <= 0.5
        loop.round()
    assert seen == ["/v1/clusters/c1/sync", "/v1/clusters/c1/sync", "/v1/clusters/c1/logs"]


def test_a_revoked_token_stops_no_run_and_its_file_is_read_again(token_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster, valid = MemoryLauncher(), "first-token"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] != f"Bearer {valid}":
            return httpx.Response(401, json={"code": "unauthenticated", "detail": "send a valid bearer token"})
        return httpx.Response(
            200, json={"desired": [desired().model_dump(mode="json")], "revision": "1-1", "next_sync_milliseconds": 0}
        )

    with over_http(answer, token_file) as city:
        loop = agent(city, cluster)
        loop.round()
        valid = "second-token"
        assert loop.round() >= 15
        token_file.unlink()
        loop.round()
        [record] = caplog.records
        assert "send a valid bearer token" in record.message
        assert "write a valid token into the token file" in record.message
        assert "-token" not in record.message
        assert cluster.runs[KEY].state is RunState.RUNNING
        token_file.write_text("second-token")
        assert loop.round() < 1
    assert cluster.launched == [KEY]


def test_what_a_busy_city_asks_for_is_kept() -> None:
    city = MemoryCity(trouble=CityUnavailableError("answered 503", retry_after_seconds=40))
    loop = agent(city, MemoryLauncher())
    wait = loop.round()
    assert 40 <= wait <= 40 * RETRY_AFTER_SPREAD
    assert loop.round(1.0) == pytest.approx(wait - 1.0), "whoever wakes the loop meanwhile gets no more out of the city"
    city.trouble = None
    assert loop.round(wait) < 1
    assert len(city.requests) == 1


def test_a_second_agent_of_a_cluster_waits_for_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    city = MemoryCity(desired=[desired()], trouble=CityRefusedError(409, "cluster_taken", "agent host-1 speaks for c1"))
    loop = agent(city, MemoryLauncher())
    assert loop.round() <= 5
    [record] = caplog.records
    assert "agent host-1 speaks for c1; runs go on, and this agent takes over if it can" in record.message


def test_nothing_is_said_while_nothing_changes() -> None:
    city, cluster = MemoryCity(desired=[desired()]), MemoryLauncher()
    loop = agent(city, cluster)
    wait = loop.round()
    for _ in range(3):
        wait = loop.round(wait)
    assert wait == OBSERVE_SECONDS
    assert len(city.requests) == 2, "the grant, and that it runs"
    loop.round(5.0)
    assert len(city.requests) == 3, "a quiet cluster is heard all the same"
    assert city.requests[-1].revision == "1-1"
    cluster.end(KEY, RunState.SUCCEEDED)
    loop.round(OBSERVE_SECONDS)
    assert city.requests[-1].observed[0].state is RunState.SUCCEEDED


def test_a_grant_is_launched_as_soon_as_the_watch_hears_of_it() -> None:
    city, cluster = MemoryCity(), MemoryLauncher()
    loop = agent(city, cluster)
    loop.round()
    loop.round(OBSERVE_SECONDS)
    assert len(city.requests) == 1
    loop.watch.step(iter([]))
    assert not loop.watch.is_stale
    city.desired = [desired()]
    loop.watch.step(iter([]))
    loop.round(OBSERVE_SECONDS)
    assert cluster.launched == [KEY]
    assert not loop.watch.is_stale


def test_a_run_deleted_by_hand_is_told_and_not_started_again_unasked() -> None:
    city, cluster = MemoryCity(desired=[desired()]), MemoryLauncher()
    loop = agent(city, cluster)
    loop.round()
    loop.round()
    del cluster.runs[KEY]
    city.desired = []
    loop.round(OBSERVE_SECONDS)
    assert city.requests[-1].observed == []
    assert cluster.launched == [KEY]


class Node422(MemoryCity):
    """A city that does not take what is said of one node."""

    def report(self, report: NodeReport) -> ReportAccepted:
        if report.hostname == "n-07":
            raise CityRefusedError(422, "invalid", "accelerators.0.model: too long")
        return super().report(report)


def test_a_node_whose_report_is_refused_keeps_no_other_from_being_reported() -> None:
    city = Node422()
    nodes = RecordedNodes(SiteFile.model_validate(SITE), shipped_catalogue(), boot="boot-1", agent_version="1", clock=Clock())
    reports, now = Reports(city, nodes, random.Random(1), lambda: 0.0), 0.0
    while now < 120.0:
        reports.post_due(now)
        now = reports.next_due()
    for hostname in (report.hostname for report in city.reports[:20]):
        assert sum(report.hostname == hostname for report in city.reports) >= 12, "one report in ten seconds"
    assert len({report.hostname for report in city.reports}) == 29


def test_a_city_that_is_slow_to_take_reports_holds_up_no_sync() -> None:
    clock = [0.0]

    class SlowCity(MemoryCity):
        def report(self, report: NodeReport) -> ReportAccepted:
            clock[0] += 0.9
            return super().report(report)

    city = SlowCity()
    nodes = RecordedNodes(SiteFile.model_validate(SITE), shipped_catalogue(), boot="boot-1", agent_version="1", clock=Clock())
    reports = Reports(city, nodes, random.Random(1), lambda: clock[0])
    reports.post_due(clock[0])
    assert clock[0] <= REPORTS_SECONDS + 0.9
    for _ in range(12):
        reports.post_due(clock[0])
    assert len({report.hostname for report in city.reports}) == 30, "those longest overdue come first"


class OddSite:
    """A site of two nodes, of which one is like nothing the contract has words for."""

    def hostnames(self) -> list[str]:
        return ["n-1", "n-2"]

    def report(self, hostname: str) -> NodeReport:
        cores = 8 if hostname == "n-2" else 10**9
        told = {"boot": "b", "sequence": 1, "observed_at": Clock()(), "agent_version": "1", "cpu_cores": cores, "memory_bytes": 1}
        return NodeReport.model_validate({"hostname": hostname, **told})


def test_a_node_that_cannot_be_described_ends_no_agent(caplog: pytest.LogCaptureFixture) -> None:
    city = MemoryCity()
    Reports(city, OddSite(), random.Random(1), lambda: 0.0).post_due(0.0)
    assert [report.hostname for report in city.reports] == ["n-2"]
    assert "n-1: cpu_cores" in caplog.text
