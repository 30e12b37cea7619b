"""The life of a job and of an attempt, as data: which state may follow which.

A job is the tenant's wish; an attempt is one placement of it. `preempted` and `lost` end an attempt and return its job to
the queue; `unreachable` is a running attempt whose cluster is silent, and is undone when the cluster speaks again.
"""

from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"
    HELD = "held"
    GRANTED = "granted"
    STARTING = "starting"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    GRANTED = "granted"
    STARTING = "starting"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    LOST = "lost"


JOB_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
JOB_WAITING = frozenset({JobState.QUEUED, JobState.HELD})

ATTEMPT_FINAL = frozenset(
    {
        AttemptState.SUCCEEDED,
        AttemptState.FAILED,
        AttemptState.CANCELLED,
        AttemptState.PREEMPTED,
        AttemptState.LOST,
    }
)
ATTEMPT_ACTIVE = frozenset(AttemptState) - ATTEMPT_FINAL
"""States in which an attempt holds its cards."""

_FORWARD = {AttemptState.GRANTED: 0, AttemptState.STARTING: 1, AttemptState.RUNNING: 2}


def may_follow(before: AttemptState, after: AttemptState) -> bool:
    """Whether an attempt may go from one state to another: forward only, out of `unreachable` anywhere, never out of an end."""
    if before in ATTEMPT_FINAL or before == after:
        return False
    if before == AttemptState.UNREACHABLE or after == AttemptState.UNREACHABLE or after in ATTEMPT_FINAL:
        return True
    return _FORWARD[after] > _FORWARD[before]
