"""A city and a cluster in memory, a clock that is turned by hand, and runs as a city desires them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.cluster.launcher import LauncherUnavailableError, LogPiece
from agents.cluster.reconcile import RunKey
from agents.terms import CityRefusedError, CityUnavailableError
from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.job import Activity
from scheduler.contract.sync import (
    DesiredRun,
    LogChunk,
    LogChunks,
    LogPosition,
    LogPositions,
    ObservedRun,
    Placement,
    RunState,
    SyncRequest,
    SyncResponse,
    Watched,
)

SITE: dict[str, Any] = {
    "cluster": "site-1",
    "description": {"zh": "测试站点", "en": "a site for tests"},
    "nodes": [
        {
            "prefix": "n",
            "count": 30,
            "cpu_cores": 192,
            "memory_gib": 1536,
            "nodes_per_rack": 4,
            "driver_version": "24.1.rc2",
            "labels": {"pool": "t"},
            "cards": {"vendor": "huawei", "model": "910B3", "count": 8, "memory_gib": 64},
        }
    ],
    "runs": {"default_seconds": 6, "starting_seconds": 0.5, "by_name": {"fails": {"seconds": 2, "exit_code": 3}}},
}
"""A site file's document."""

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def desired(attempt: str = "att-1", token: int = 1, **changes: object) -> DesiredRun:
    fields: dict[str, object] = {
        "attempt": attempt,
        "fencing_token": token,
        "job": "job-1",
        "name": "train",
        "tenant": "tenant-1",
        "number": 1,
        "activity": Activity.FINETUNE,
        "entrypoint": ["python", "train.py"],
        "per_node": 0,
        "placements": [Placement(node="node-1", devices=[], cpus=1)],
        "max_runtime_seconds": 3600,
    }
    return DesiredRun.model_validate(fields | changes)


@dataclass
class MemoryLauncher:
    """A cluster in memory: a launched run is running until someone says how it ended."""

    runs: dict[RunKey, ObservedRun] = field(default_factory=dict)
    logs: dict[RunKey, bytes] = field(default_factory=dict)
    by_rank: dict[tuple[RunKey, int], bytes] = field(default_factory=dict)
    """What other ranks printed than the first."""
    kept_from: int = 0
    """Of every log, what came before this byte is gone."""
    reads: int = 0
    launched: list[RunKey] = field(default_factory=list)
    stopped: list[RunKey] = field(default_factory=list)
    forgotten: list[RunKey] = field(default_factory=list)
    fails_with: Exception | None = None
    unavailable_for: set[RunKey] = field(default_factory=set)
    """Runs that can never be launched just now."""
    silent: bool = False

    def observe(self) -> list[ObservedRun]:
        if self.silent:
            raise LauncherUnavailableError("the cluster does not answer")
        return list(self.runs.values())

    def launch(self, run: DesiredRun) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        key = (run.attempt, run.fencing_token)
        if key in self.unavailable_for:
            raise LauncherUnavailableError("an admission webhook does not answer")
        if key not in self.runs:
            self.launched.append(key)
            self.runs[key] = ObservedRun(attempt=key[0], fencing_token=key[1], state=RunState.RUNNING, started_at=START)

    def stop(self, attempt: str, token: int) -> None:
        self.stopped.append((attempt, token))
        self.end((attempt, token), RunState.STOPPED)

    def end(self, key: RunKey, state: RunState) -> None:
        self.runs[key] = self.runs[key].model_copy(update={"state": state, "finished_at": START})

    def forget(self, attempt: str, token: int) -> None:
        self.forgotten.append((attempt, token))
        del self.runs[attempt, token]

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        self.reads += 1
        key = (attempt, token)
        log = self.logs.get(key, b"") if rank == 0 else self.by_rank.get((key, rank), b"")
        start = max(offset, min(self.kept_from, len(log)))
        return LogPiece(start, log[start : start + max_bytes], len(log))

    def close(self) -> None:
        pass


@dataclass
class MemoryCity:
    """A city in memory. `trouble` is raised instead of an answer; `lose_answers` does what was asked and then is silent."""

    desired: list[DesiredRun] = field(default_factory=list)
    requests: list[SyncRequest] = field(default_factory=list)
    logs: dict[tuple[RunKey, int], bytes] = field(default_factory=dict)
    complete: set[tuple[RunKey, int]] = field(default_factory=set)
    batches: list[LogChunks] = field(default_factory=list)
    reports: list[NodeReport] = field(default_factory=list)
    trouble: Exception | None = None
    lose_answers: bool = False
    wants_logs: bool = True
    head_bytes: int = 0
    tail_bytes: int = 0
    on_sync: Callable[[SyncRequest], None] = lambda request: None

    def sync(self, cluster: str, request: SyncRequest) -> SyncResponse:
        self._answer_or_fail()
        self.requests.append(request)
        self.on_sync(request)
        self._lose()
        held = request.revision == self.revision
        desired = None if held else self.desired
        return SyncResponse(desired=desired, revision=self.revision, next_sync_milliseconds=5000)

    @property
    def revision(self) -> str:
        return f"{len(self.desired)}-{max((run.fencing_token for run in self.desired), default=0)}"

    def watch(self, cluster: str, revision: str, wait_seconds: int) -> Watched:
        self._answer_or_fail()
        return Watched(revision=self.revision)

    def append_logs(self, cluster: str, chunks: LogChunks) -> LogPositions:
        self._answer_or_fail()
        self.batches.append(chunks)
        positions = [self._append(chunk) for chunk in chunks.chunks]
        self._lose()
        return LogPositions(positions=positions)

    def _append(self, chunk: LogChunk) -> LogPosition:
        """As the city does, but it keeps all of a log: what is lost shows as dots."""
        log = (chunk.attempt, chunk.fencing_token), chunk.rank
        have = self.logs.get(log, b"")
        if chunk.offset >= len(have):
            have = have.ljust(chunk.offset, b".") + chunk.text.encode()
        self.logs[log] = have
        if chunk.last and chunk.offset == len(have):
            self.complete.add(log)
        wanted = self.wants_logs and log not in self.complete
        named = {"attempt": chunk.attempt, "fencing_token": chunk.fencing_token, "rank": chunk.rank}
        shares = {"head_bytes": self.head_bytes, "tail_bytes": self.tail_bytes}
        return LogPosition.model_validate({**named, **shares, "next_offset": len(have), "wanted": wanted})

    def report(self, report: NodeReport) -> ReportAccepted:
        self._answer_or_fail()
        self.reports.append(report)
        return ReportAccepted(next_report_seconds=10, catalogue_version="1")

    @property
    def texts(self) -> dict[RunKey, bytes]:
        """What first ranks printed."""
        return {key: data for (key, rank), data in self.logs.items() if rank == 0}

    def _answer_or_fail(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _lose(self) -> None:
        if self.lose_answers:
            raise CityUnavailableError("timed out")


UNAVAILABLE = CityUnavailableError("the city does not answer")
REFUSED = CityRefusedError(403, "forbidden", "this token is for another cluster")
