"""Logs are taken up while they are there: within bounds, without asking too often, and whatever a kubelet does."""

import errno
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.cluster.kubernetes import log_keeper
from agents.cluster.kubernetes.errors import NotFoundError
from agents.cluster.kubernetes.log_keeper import FEED_BYTES, MOST_FEED_BYTES, LogKeeper, Source
from agents.cluster.kubernetes.pod_logs import LOST
from agents.cluster.launcher import LauncherUnavailableError, LogPiece
from agents.cluster.logs import LogUpload
from agents.cluster.ring import RING_BYTES, Ring
from scheduler.contract.sync import ObservedRun, RunState
from tests.agents.cluster.doubles import MemoryCity, MemoryLauncher

BEGIN = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


@dataclass
class Kubelet:
    """Answers for the log of one pod, as the API does."""

    lines: list[tuple[int, bytes]] = field(default_factory=list)
    """Milliseconds and text."""
    trouble: Exception | None = None
    calls: list[int] = field(default_factory=list)

    def read_log(self, namespace: str, pod: str, *, since: datetime | None, max_bytes: int, **_: Any) -> bytes:
        self.calls.append(max_bytes)
        if self.trouble is not None:
            raise self.trouble
        found = bytearray()
        for millis, text in self.lines:
            at = BEGIN + timedelta(milliseconds=millis)
            if since is None or at >= since:
                found += at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() + text
                if len(found) >= max_bytes:
                    break
        return bytes(found[:max_bytes])


class Timer:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def source(phase: str = "Running", uid: str = "u", run: str = "run", rank: int = 0) -> Source:
    pod = {"metadata": {"name": "p", "uid": uid}, "spec": {"nodeName": "n"}, "status": {"phase": phase}}
    return Source(run, rank, pod, "main")


def keeper(kubelet: Kubelet, folder: Path, timer: Timer | None = None) -> LogKeeper:
    return LogKeeper(kubelet, "ns", folder, timer or Timer())  # type: ignore[arg-type]


def read(kept: LogKeeper, what: Source, offset: int = 0) -> bytes:
    return kept.read(what.run, what.rank, what, offset, 10**6).data


def test_a_log_is_followed_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    kubelet = Kubelet([(1, b"one\n"), (1, b"two\n")])
    kept = keeper(kubelet, tmp_path)
    assert read(kept, source()) == b"one\ntwo\n"
    kubelet.lines += [(1, b"three\n"), (5000, b"four\n")]
    kept.feed(source())
    assert read(kept, source(), 4) == b"two\nthree\nfour\n"
    again = keeper(kubelet, tmp_path)
    assert read(again, source(), 14) == b"four\n"
    kubelet.lines.append((5000, b"the end"))
    assert read(again, source("Failed"), 19) == b"the end"
    kubelet.trouble = AssertionError("all of it was had")
    again.feed(source("Failed"))
    assert again.by_turns([source("Failed")]) == []


def test_a_log_that_is_gone_leaves_what_was_had(tmp_path: Path) -> None:
    kubelet = Kubelet([(1, b"one\n")])
    kept = keeper(kubelet, tmp_path)
    kept.feed(source())
    kubelet.trouble = NotFoundError("gone", status=404, reason="NotFound")
    assert read(kept, source("Failed")) == b"one\n"
    kept.feed(source("Failed"))
    assert kept.by_turns([source("Failed")]) == []
    assert kept.read("run", 0, None, 0, 100).data == b"one\n"


def test_a_node_that_does_not_answer_is_trouble_of_its_own_pods_only(tmp_path: Path) -> None:
    timer = Timer()
    kubelet = Kubelet([(1, b"one\n")], trouble=LauncherUnavailableError("dial tcp 10.0.0.9:10250: i/o timeout"))
    kept = keeper(kubelet, tmp_path, timer)
    assert not kept.feed(source())
    for _ in range(5):
        assert read(kept, source("Failed")) == b""
    assert len(kubelet.calls) == 1
    kubelet.trouble = None
    timer.now = log_keeper.TROUBLE_SECONDS
    assert read(kept, source("Failed")) == b"one\n"


def test_a_quiet_program_is_asked_ever_more_rarely_and_at_once_when_it_ended(tmp_path: Path) -> None:
    timer, kubelet = Timer(), Kubelet()
    kept = keeper(kubelet, tmp_path, timer)
    for second in range(600):
        timer.now = second / 10
        kept.feed(source())
    assert 12 <= len(kubelet.calls) <= 18
    kubelet.lines.append((1, b"done\n"))
    assert read(kept, source("Succeeded")) == b"done\n"


def test_more_in_one_second_than_a_call_brings_is_had_and_more_than_any_call_is_passed_over(tmp_path: Path) -> None:
    line = b"x" * 999 + b"\n"
    kubelet = Kubelet([(number // 10, line) for number in range(3 * FEED_BYTES // 1000)])
    kept = keeper(kubelet, tmp_path)
    had = 0
    for _ in range(12):
        kept.feed(source())
        had = kept.read("run", 0, None, 0, 1).start + len(read(kept, source()))
    assert MOST_FEED_BYTES in kubelet.calls
    assert had > 0
    whole = len(kubelet.lines) * 1000
    assert kept._ring("run", 0).end == whole

    kubelet.lines = [(1, line)] * (MOST_FEED_BYTES * 5 // 4 // 1000) + [(2500, b"after\n")]
    other = source(uid="v", run="other")
    for _ in range(20):
        kept.feed(other)
    ring = kept._ring("other", 0)
    assert ring.read(ring.end - len(LOST) - 6, 10**6)[1] == LOST.encode() + b"after\n"
    assert ring.end - ring.start <= RING_BYTES


def test_those_that_may_soon_be_gone_come_first_then_those_longest_ago(tmp_path: Path) -> None:
    kubelet = Kubelet([(1, b"one\n")])
    kept = keeper(kubelet, tmp_path)
    a, b, c = (source(uid=name, run=name) for name in "abc")
    kept.feed(a)
    assert [each.run for each in kept.by_turns([a, b, source("Failed", "c", "c")])] == ["c", "b", "a"]
    kept.feed(b)
    assert [each.run for each in kept.by_turns([b, a, c])] == ["c", "a", "b"]


def test_logs_of_forgotten_runs_are_removed(tmp_path: Path) -> None:
    kubelet = Kubelet([(1, b"one\n")])
    kept = keeper(kubelet, tmp_path)
    for name in "ab":
        kept.feed(source(uid=name, run=name))
    kept.keep_only(["b"])
    assert [folder.name for folder in tmp_path.iterdir()] == ["b"]
    again = keeper(kubelet, tmp_path)
    again.keep_only([])
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_costs_a_part_of_the_log_and_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timer, kubelet = Timer(), Kubelet([(1, b"one\n")])
    kept = keeper(kubelet, tmp_path, timer)
    kept.feed(source())
    kubelet.lines.append((2, b"two\n"))

    def half(ring: Ring, start: int, data: bytes) -> None:
        with next(tmp_path.glob("run/0/*.log")).open("ab") as file:
            file.write(data[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Ring, "_write", half)
        timer.now = 10.0
        kept.feed(source())
        assert read(kept, source()) == b"one\n"
        assert read(kept, source(), 4) == b""
    timer.now += log_keeper.TROUBLE_SECONDS
    assert read(kept, source(), 4) == b"two\n"


class OneLog(MemoryLauncher):
    """A cluster of one run, which has ended, whose log is taken up from its pod."""

    def __init__(self, kept: LogKeeper) -> None:
        super().__init__()
        self._kept = kept

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        return self._kept.read("run", rank, source("Failed"), offset, max_bytes)


def test_the_end_of_a_log_waits_for_a_kubelet_that_does_not_answer_just_then(tmp_path: Path) -> None:
    timer, kubelet = Timer(), Kubelet([(1, b"one\n")])
    kept = keeper(kubelet, tmp_path, timer)
    kept.feed(source())
    kubelet.lines.append((2, b"why it failed\n"))
    kubelet.trouble = LauncherUnavailableError("dial tcp 10.0.0.9:10250: i/o timeout")
    city, run = MemoryCity(), ObservedRun(attempt="att-1", fencing_token=1, state=RunState.FAILED)
    upload = LogUpload(city, "c1", OneLog(kept))
    for _ in range(3):
        upload.push([run])
    assert not upload.is_complete(("att-1", 1))
    kubelet.trouble, timer.now = None, log_keeper.TROUBLE_SECONDS
    for _ in range(3):
        upload.push([run])
    assert city.texts["att-1", 1] == b"one\nwhy it failed\n"
    assert upload.is_complete(("att-1", 1))


def test_a_log_whose_kubelet_never_answers_again_is_given_up(tmp_path: Path) -> None:
    timer, kubelet = Timer(), Kubelet(trouble=LauncherUnavailableError("i/o timeout"))
    upload = LogUpload(MemoryCity(), "c1", OneLog(keeper(kubelet, tmp_path, timer)))
    while not upload.is_complete(("att-1", 1)):
        upload.push([ObservedRun(attempt="att-1", fencing_token=1, state=RunState.FAILED)])
        timer.now += 5.0
    assert log_keeper.GIVE_UP_SECONDS <= timer.now <= log_keeper.GIVE_UP_SECONDS + 60.0
