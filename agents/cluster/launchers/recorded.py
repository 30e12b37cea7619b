"""The `recorded` launcher: nothing is computed, a site's file says how long each run would take.

A run's whole life is written down when it is launched, and what it is at any moment follows from the clock. So the agent
may be restarted, or stand still for an hour, and every run still starts and ends when it would have.
"""

import shlex
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.cluster.files import write_atomically
from agents.cluster.launcher import LauncherUnavailableError, LogPiece
from agents.cluster.reconcile import RunKey
from agents.cluster.site import SiteFile
from scheduler.contract.base import Moment
from scheduler.contract.sync import DesiredRun, ObservedRun, RunState
from scheduler.domain.clock import rfc3339

MOST_WHAT_CHARACTERS = 2_000


class _PlayedRun(BaseModel):
    """One run as it was launched: later changes of the site file do not touch it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempt: str
    fencing_token: int
    starts_at: Moment
    ends_at: Moment
    exit_code: int
    stopped_at: Moment | None = None
    what: str

    def observed(self, now: datetime) -> ObservedRun:
        end = min(self.ends_at, self.stopped_at or self.ends_at)
        cut_short = self.stopped_at is not None and self.stopped_at < self.ends_at
        started_at = self.starts_at if self.starts_at <= min(now, end) else None
        if now < end:
            state = RunState.RUNNING if started_at else RunState.STARTING
        elif cut_short:
            state = RunState.STOPPED
        else:
            state = RunState.FAILED if self.exit_code else RunState.SUCCEEDED
        return ObservedRun(
            attempt=self.attempt,
            fencing_token=self.fencing_token,
            state=state,
            started_at=started_at,
            finished_at=end if now >= end else None,
            exit_code=self.exit_code if now >= end and not cut_short else None,
        )


class _PlayedRuns(BaseModel):
    model_config = ConfigDict(extra="forbid")

    runs: list[_PlayedRun] = Field(default_factory=list)


class RecordedLauncher:
    """Plays back `site`. What it was asked to run is kept in `folder/runs.json`.

    Raises ValueError when that file is not one this class wrote, OSError when the folder cannot be used.
    """

    def __init__(self, site: SiteFile, folder: Path, clock: Callable[[], datetime]) -> None:
        self._site = site
        self._clock = clock
        self._file = folder / "runs.json"
        self._runs: dict[RunKey, _PlayedRun] = {}
        if self._file.exists():
            try:
                kept = _PlayedRuns.model_validate_json(self._file.read_bytes())
            except ValidationError as error:
                raise ValueError(f"{self._file} is not a file of this agent; move it away to start afresh") from error
            self._runs = {(run.attempt, run.fencing_token): run for run in kept.runs}

    def observe(self) -> list[ObservedRun]:
        now = self._clock()
        return [run.observed(now) for run in self._runs.values()]

    def launch(self, run: DesiredRun) -> None:
        key = (run.attempt, run.fencing_token)
        if key in self._runs:
            return
        playback = self._site.runs.playback(run.name)
        starts_at = self._clock() + timedelta(seconds=self._site.runs.starting_seconds)
        played = _PlayedRun(
            attempt=run.attempt,
            fencing_token=run.fencing_token,
            starts_at=starts_at,
            ends_at=starts_at + timedelta(seconds=playback.seconds),
            exit_code=playback.exit_code,
            what=_what(run)[:MOST_WHAT_CHARACTERS],
        )
        self._keep({**self._runs, key: played})

    def stop(self, attempt: str, token: int) -> None:
        run = self._runs.get((attempt, token))
        now = self._clock()
        if run is not None and run.stopped_at is None and now < run.ends_at:
            self._keep({**self._runs, (attempt, token): run.model_copy(update={"stopped_at": now})})

    def forget(self, attempt: str, token: int) -> None:
        self._keep({key: run for key, run in self._runs.items() if key != (attempt, token)})

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        run = self._runs.get((attempt, token))
        log = self._log(run).encode() if run and rank == 0 else b""
        return LogPiece(offset, log[offset : offset + max_bytes], len(log))

    def close(self) -> None:
        """Nothing is held."""

    def _keep(self, runs: dict[RunKey, _PlayedRun]) -> None:
        """First on disk, then in memory: what was told to the city survives a kill."""
        try:
            write_atomically(self._file, _PlayedRuns(runs=list(runs.values())).model_dump_json().encode())
        except OSError as error:
            raise LauncherUnavailableError(f"{self._file}: {error.strerror}") from error
        self._runs = runs

    def _log(self, run: _PlayedRun) -> str:
        """What is true of such a run and no more; it only ever grows at its end."""
        seen = run.observed(self._clock())
        lines = [
            f"recorded site {self._site.cluster} ({self._site.description.en}): nothing is computed here, only played back",
            f"回放站点 {self._site.cluster}({self._site.description.zh}):此处不做真实计算,仅回放",
            f"would run: {run.what}",
        ]
        if seen.started_at:
            lines.append(f"{rfc3339(seen.started_at)} started")
        if seen.finished_at:
            how = "stopped" if seen.state is RunState.STOPPED else f"ended with exit code {run.exit_code}"
            lines.append(f"{rfc3339(seen.finished_at)} {how}")
        return "\n".join(lines) + "\n"


def _what(run: DesiredRun) -> str:
    """`python train.py on 4 nodes × 8 × 910B3 (lg-ascend-01, …)`, for a task of an array `task 7 of 100: …`."""
    nodes = ", ".join(placement.node for placement in run.placements)
    what = " ".join(filter(None, (run.model or "CPU only", run.placements[0].mig)))
    task = "" if run.array is None else f"task {run.array.index} of {run.array.size}: "
    return f"{task}{shlex.join(run.entrypoint)} on {len(run.placements)} × {run.per_node} × {what} ({nodes})"
