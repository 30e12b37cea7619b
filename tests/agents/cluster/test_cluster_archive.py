"""The archive of logs: the operator's command once for each log, until it takes it, beside the loop and within bounds."""

import resource
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agents.cluster import archive as module
from agents.cluster.archive import Archive, ArchiveMetrics, execute, filled, parse_command
from scheduler.contract.sync import ObservedRun, RunState
from tests.agents.cluster.doubles import Clock, MemoryCity, MemoryLauncher, desired
from tests.agents.cluster.test_cluster_agent import Loop

KEY = ("att-1", 1)


class Store:
    """An object store by its command: what it was given, and how it answers."""

    def __init__(self) -> None:
        self.taken: dict[str, bytes] = {}
        self.calls = 0
        self.trouble: str | None = None
        self.slow: threading.Event | None = None

    def __call__(self, arguments: list[str]) -> str | None:
        self.calls += 1
        if self.slow is not None:
            self.slow.wait(10)
        if self.trouble is None:
            self.taken[arguments[2]] = Path(arguments[1]).read_bytes()
        return self.trouble


class Scene:
    def __init__(self, folder: Path, launcher: MemoryLauncher) -> None:
        self.folder, self.launcher, self.store, self.wake = folder, launcher, Store(), threading.Event()
        self.registry = CollectorRegistry()
        self.metrics = ArchiveMetrics(self.registry)
        self.archive = self.restarted()
        self.now = 0.0

    def restarted(self) -> Archive:
        command = parse_command("put %p s3://logs/%j/%a-%t/%r.log")
        return Archive(command, self.launcher, self.folder, self.metrics, self.wake, self.store)

    def step(self, *runs: ObservedRun, seconds: float = 1.0) -> None:
        """One round, and the command it may have started has ended."""
        self.now += seconds
        self.archive.step(list(runs), self.now)
        for thread in threading.enumerate():
            if thread.name == "log-archive" and (self.store.slow is None or self.store.slow.is_set()):
                thread.join(10)

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(f"suanwang_{name}_total") or 0.0


def ended(number: int = 1, ranks: int = 1) -> ObservedRun:
    return ObservedRun(
        attempt=f"att-{number}", fencing_token=number, state=RunState.SUCCEEDED, ranks=ranks, finished_at=Clock().now
    )


def test_every_rank_is_handed_over_once_when_the_run_has_ended(tmp_path: Path) -> None:
    scene = Scene(tmp_path, MemoryLauncher(logs={KEY: b"a" * 3_000_000}, by_rank={(KEY, 1): b"rank 1\n"}))
    scene.archive.expect(desired())
    running = ended(ranks=2).model_copy(update={"state": RunState.RUNNING})
    scene.step(running)
    assert scene.store.calls == 0
    assert not scene.archive.is_done(KEY)
    for _ in range(12):
        before = scene.launcher.reads
        scene.step(ended(ranks=2))
        assert scene.launcher.reads - before <= 1, "one bounded piece a round"
    assert scene.store.taken == {"s3://logs/job-1/att-1-1/0.log": b"a" * 3_000_000, "s3://logs/job-1/att-1-1/1.log": b"rank 1\n"}
    assert scene.store.calls == scene.count("logs_archived") == 2
    assert scene.archive.is_done(KEY)
    assert scene.wake.is_set()
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_is_tried_again_ever_later_and_given_up_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_TRIES", 4)
    scene = Scene(tmp_path, MemoryLauncher(logs={KEY: b"text"}))
    scene.archive.expect(desired())
    scene.store.trouble = "exit code 1: no such bucket"
    tried: list[float] = []
    for _ in range(60):
        scene.step(ended())
        if len(tried) < scene.store.calls:
            tried.append(scene.now)
    assert [round(later - earlier) for earlier, later in pairwise(tried)] == [3, 5, 9]
    assert "no such bucket" in caplog.text
    assert (scene.count("log_archive_failures"), scene.count("logs_not_archived")) == (4, 1)
    assert scene.archive.is_done(KEY)


def test_a_slow_command_holds_nobody_up(tmp_path: Path) -> None:
    scene = Scene(tmp_path, MemoryLauncher(logs={KEY: b"text"}))
    scene.archive.expect(desired())
    scene.store.slow = threading.Event()
    for _ in range(5):
        scene.step(ended())
    assert scene.store.calls == 1
    scene.store.slow.set()
    for _ in range(3):
        scene.step(ended())
    assert scene.archive.is_done(KEY)


@pytest.mark.parametrize("rounds", range(1, 8))
def test_a_restart_at_any_moment_forgets_no_log(tmp_path: Path, rounds: int) -> None:
    scene = Scene(tmp_path, MemoryLauncher(logs={KEY: b"a" * 2_000_000}, by_rank={(KEY, 1): b"rank 1\n"}))
    scene.archive.expect(desired())
    for _ in range(rounds):
        scene.step(ended(ranks=2))
    scene.archive = scene.restarted()
    for _ in range(14):
        scene.step(ended(ranks=2))
    assert scene.store.taken == {"s3://logs/job-1/att-1-1/0.log": b"a" * 2_000_000, "s3://logs/job-1/att-1-1/1.log": b"rank 1\n"}
    assert scene.archive.is_done(KEY)


def test_only_so_many_runs_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    scene = Scene(tmp_path, MemoryLauncher())
    scene.store.trouble = "down"
    for number in range(5):
        scene.archive.expect(desired(f"att-{number}", number))
    scene.step(*(ended(number) for number in range(5)))
    assert [scene.archive.is_done((f"att-{number}", number)) for number in range(5)] == [True, True, False, False, False]
    assert scene.count("logs_not_archived") == 2


def test_a_log_beyond_all_measure_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOG_BYTES", 2 * module.READ_BYTES)
    scene = Scene(tmp_path, MemoryLauncher(logs={KEY: b"a" * (5 * module.READ_BYTES)}))
    scene.archive.expect(desired())
    for _ in range(5):
        scene.step(ended())
    assert [len(text) for text in scene.store.taken.values()] == [2 * module.READ_BYTES]


def test_a_disk_that_took_half_a_piece_doubles_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, MemoryLauncher(logs={KEY: b"abcdef\n"}))
    scene.archive.expect(desired())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            scene.step(ended())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for _ in range(4):
        scene.step(ended())
    assert list(scene.store.taken.values()) == [b"abcdef\n"]


def test_a_full_or_broken_disk_of_the_archive_stops_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(tmp_path, MemoryLauncher())
    (tmp_path / "att-9.9.json").mkdir()
    loop = Loop(MemoryCity(desired=[desired()]), scene.launcher, scene.archive)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        loop.round()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert scene.launcher.launched == [KEY]
    assert "archive" in caplog.text


def test_the_loop_keeps_a_run_until_its_log_is_archived(tmp_path: Path) -> None:
    scene = Scene(tmp_path, MemoryLauncher(logs={KEY: b"text"}))
    city = MemoryCity(desired=[desired()])
    loop = Loop(city, scene.launcher, scene.archive)
    loop.round()
    scene.launcher.end(KEY, RunState.SUCCEEDED)
    city.desired = []
    scene.store.slow = threading.Event()
    for _ in range(4):
        loop.round()
    assert not scene.launcher.forgotten
    scene.store.slow.set()
    for thread in threading.enumerate():
        if thread.name == "log-archive":
            thread.join(10)
    for _ in range(3):
        loop.round()
    assert scene.launcher.forgotten == [KEY]


def test_what_was_deleted_by_hand_is_not_waited_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path, MemoryLauncher())
    scene.archive.expect(desired())
    scene.archive.keep_only({KEY})
    assert not scene.archive.is_done(KEY)
    scene.archive.keep_only(set())
    assert scene.archive.is_done(KEY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cp", "a command with %p in it"),
        ("", "a command with %p in it"),
        ("cp %p %x", "a command with %p in it"),
        ("cp %p %", "a command with %p in it"),
        ("cp '%p", "No closing quotation"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused_at_the_start(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_command(text)


def test_places_are_filled_where_they_stand_and_no_shell_reads_them() -> None:
    command = parse_command("cp %p '/a b/%j-%a/100%%/%r' %t")
    values = {"p": "/x", "j": "job; rm -rf /", "a": "a b", "t": "1", "r": "0"}
    assert filled(command, values) == ["cp", "/x", "/a b/job; rm -rf /-a b/100%/0", "1"]


def test_a_real_command_is_run_and_its_last_words_are_told(tmp_path: Path) -> None:
    assert execute([sys.executable, "-c", "pass"]) is None
    assert execute([sys.executable, "-c", "import sys; sys.exit('no such bucket')"]) == "exit code 1: no such bucket"
    assert execute(["/nowhere/put", "x"]) == "/nowhere/put: No such file or directory"


def test_a_real_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND_SECONDS", 0.2)
    assert execute([sys.executable, "-c", "import time; time.sleep(60)"]) == "it took longer than 0 s"
