"""What a Ray job says of a run. Pure.

Ray says that a job is alive, has ended, or was stopped. When its program began, which rank failed first and why, the payload says
in the job's own log (`agents.cluster.ray.payload`), into which the program itself does not write.
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.cluster.ray.api import Job
from agents.cluster.ray.payload import OUT_OF_MEMORY_MARKS
from agents.cluster.reconcile import RunKey
from scheduler.contract.job import MAX_NODES
from scheduler.contract.sync import RUN_FINAL, Cause, ObservedRun, RunState

DETAIL_LENGTH = 500

STATES = {
    "PENDING": RunState.STARTING,
    "RUNNING": RunState.RUNNING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "STOPPED": RunState.STOPPED,
}

CAUSES = {
    "RUNTIME_ENV_SETUP_FAILURE": Cause.LAUNCH_REFUSED,
    "JOB_ENTRYPOINT_COMMAND_START_ERROR": Cause.LAUNCH_REFUSED,
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": Cause.LAUNCH_REFUSED,
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": Cause.NOT_PLACED,
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": Cause.NOT_PLACED,
    "JOB_SUPERVISOR_ACTOR_DIED": Cause.NODE_LOST,
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": Cause.NODE_LOST,
}
"""What Ray's own kinds of failure mean (`ray.dashboard.modules.job.common.JobErrorType`)."""


class _Ended(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    exit_code: int | None = Field(default=None, ge=0, le=255)
    rank: int | None = Field(default=None, ge=0, lt=MAX_NODES)
    node: str | None = None
    cause: Cause | None = None
    detail: str | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    nodes: list[str] | None = Field(default=None, max_length=MAX_NODES)
    began: float | None = Field(default=None, gt=0, lt=1e11)
    ended: _Ended | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What the payload said of a run: `nodes` are the Ray nodes of a gang's ranks."""

    nodes: tuple[str, ...] = ()
    began: datetime | None = None
    ended: _Ended | None = None


def read_said(attempt: str, log: str) -> Said:
    """From the log of a run's job. Of each thing the first word counts: nobody speaks before the payload."""
    said = Said()
    for match in re.finditer(rf"^suanwang: {re.escape(attempt)} (\{{.*\}})$", log, re.MULTILINE):
        try:
            line = _Line.model_validate(json.loads(match[1]))
        except (ValueError, ValidationError, RecursionError):
            continue
        said = replace(
            said,
            nodes=said.nodes or tuple(line.nodes or ()),
            began=said.began or (moment(line.began) if line.began else None),
            ended=said.ended or line.ended,
        )
    return said


def observed(key: RunKey, job: Job, said: Said, *, ranks: int, checkpoint_at: datetime | None) -> ObservedRun:
    """Raises pydantic.ValidationError for what cannot be a run of ours, whoever wrote it."""
    state = STATES.get(job.status, RunState.STARTING)
    if state is RunState.RUNNING and said.began is None:
        state = RunState.STARTING
    failed = state is RunState.FAILED
    ended = said.ended or _Ended()
    cause = _cause(job, said) if failed else None
    exit_code = ended.exit_code if said.ended else _as_container(job.driver_exit_code)
    return ObservedRun(
        attempt=key[0],
        fencing_token=key[1],
        state=state,
        started_at=said.began,
        finished_at=moment(job.end_time / 1000) if job.end_time and state in RUN_FINAL else None,
        exit_code=exit_code if state in RUN_FINAL else None,
        detail=_detail(job, ended, cause)[:DETAIL_LENGTH] if failed else None,
        cause=cause,
        checkpoint_at=checkpoint_at,
        ranks=ranks,
    )


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _as_container(exit_code: int | None) -> int | None:
    """Ray has -9 for what a signal ended, where a container has 137."""
    return 128 - exit_code if exit_code is not None and exit_code < 0 else exit_code


def _cause(job: Job, said: Said) -> Cause | None:
    """Why it failed, unless the program ended by itself."""
    if said.ended is not None:
        return said.ended.cause
    # Of a payload that ended without a word Ray's message is the end of the job's log, and not Ray's own.
    if job.driver_exit_code is None and any(mark in (job.message or "") for mark in OUT_OF_MEMORY_MARKS):
        return Cause.OUT_OF_MEMORY
    if (cause := CAUSES.get(job.error_type or "")) is not None:
        return cause
    # The payload went without a word: before the program began it could not be run, afterwards it was killed.
    return Cause.LAUNCH_REFUSED if said.began is None else None


def _detail(job: Job, ended: _Ended, cause: Cause | None) -> str:
    who = "the program" if ended.rank is None else f"rank {ended.rank} on {ended.node}"
    if cause is Cause.OUT_OF_MEMORY:
        return f"{who} was killed for the memory it used"
    if ended.detail is not None:
        return ended.detail if ended.rank is None else f"{who}: {ended.detail}"
    code = ended.exit_code if ended.exit_code is not None else _as_container(job.driver_exit_code)
    if cause is None and code is not None:
        return f"{who} exited with code {code}"
    lines = [line.strip() for line in (job.message or "").splitlines() if line.strip()]
    if not lines:
        return "Ray says no more than that it failed"
    # Of a traceback, what failed and why: its first line and its last.
    return lines[0] if len(lines) == 1 else f"{lines[0][: DETAIL_LENGTH // 2]} … {lines[-1]}"
