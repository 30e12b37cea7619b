"""Jobs that are wanted finished by a moment: whose turn comes early because of it, and whether it can still be kept.

What decides is the latest start, deadline − `max_runtime`: started by then, a job is in time even if it takes all it asked for. A
job whose latest start is near is served before the others of its priority, the soonest latest start first (EDF; Liu and Layland,
"Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment", JACM 1973). Before that it stands where it would
without a deadline, and afterwards again: who can no longer be in time holds nobody up.
"""

from dataclasses import replace

from scheduler.domain.clock import MICROS_PER_SECOND, from_micros, rfc3339_seconds
from scheduler.domain.reasons import Reason
from scheduler.engine.order import NEAR_SECONDS, QueuedJob, latest_start
from scheduler.engine.snapshot import Verdict


def prospect(job: QueuedJob, now: int, starts_by: int | None) -> Reason | None:
    """Whether a waiting job keeps its deadline if it starts at `starts_by` at the latest (microseconds; None: nobody knows).

    None for a job without a deadline, or whose run may take for ever.
    """
    start_by = latest_start(job)
    if job.deadline is None or start_by is None:
        return None
    numbers: dict[str, str | int] = {"deadline": moment(job.deadline), "start_by": moment(start_by)}
    if now > start_by:
        return Reason("deadline_missed", numbers)
    kept = starts_by is not None and starts_by <= start_by
    starts = "unknown" if starts_by is None else moment_after(starts_by)
    return Reason("deadline_met_if_started_by" if kept else "deadline_at_risk", {**numbers, "starts": starts})


def noted(verdict: Verdict, job: QueuedJob, now: int, promised_at: int | None) -> Verdict:
    """A verdict of a round with what it means for the deadline, where that is known without looking far ahead: the job has been
    promised a start, must start soon, or is too late."""
    start_by = latest_start(job)
    if start_by is None or verdict.kind == "never":
        return verdict
    told = promised_at is not None or start_by <= now + NEAR_SECONDS * MICROS_PER_SECOND
    reason = prospect(job, now, promised_at) if told else None
    return verdict if reason is None else replace(verdict, reasons=(*verdict.reasons, reason))


def prospect_of_run(deadline: int, ends_by: int) -> Reason:
    """Whether a run that ends at `ends_by` at the latest keeps its deadline."""
    ends: dict[str, str | int] = {"deadline": moment(deadline), "ends": moment_after(ends_by)}
    return Reason("deadline_kept" if ends_by <= deadline else "deadline_overrun", ends)


def moment(micros: int) -> str:
    """A moment by which something must have happened, to the second below, as RFC 3339."""
    return rfc3339_seconds(from_micros(micros))


def moment_after(micros: int) -> str:
    """A moment by which something will have happened, to the second above."""
    return moment(micros + MICROS_PER_SECOND - 1)
