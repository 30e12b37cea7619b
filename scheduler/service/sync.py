"""The city's half of the sync protocol: what a cluster observes becomes state, and what it must run is answered.

The rules are those of `scheduler.contract.sync`. Everything here is level-triggered: applying one observation twice, or
missing some, changes nothing in the end.
"""

from datetime import datetime, timedelta

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.contract.sync import RUN_FINAL, ArrayIndex, DesiredRun, ObservedRun, Placement, RunState, SyncRequest
from scheduler.domain.clock import to_micros
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, AttemptState
from scheduler.service.causes import CONSEQUENCES
from scheduler.service.lifecycle import advance_attempt, end_attempt, from_json, lock_job
from scheduler.service.snapshot import is_silent
from scheduler.store.tables import AttemptRow, ClusterRow, JobRow

HEARD_EVERY = timedelta(seconds=5)
"""`clusters.heard_at` and `attempts.observed_at` are written at most this often, so that a quiet sync costs no write."""

_SILENCE = text("INSERT INTO silences (attempt_id, since, until) VALUES (:attempt, :since, :until) ON CONFLICT DO NOTHING")
"""Of two requests that come at once, one says it."""

_PROGRESS = {RunState.STARTING: AttemptState.STARTING, RunState.RUNNING: AttemptState.RUNNING}


def observe(session: Session, cluster: ClusterRow, request: SyncRequest, now: datetime) -> None:
    """Apply what a cluster's agent observes to every attempt the city believes is there."""
    if cluster.heard_at is None or now - cluster.heard_at >= HEARD_EVERY:
        cluster.heard_at = now
    observed = {run.attempt: run for run in request.observed}
    active = session.scalars(_active(cluster.id).order_by(AttemptRow.job_id)).all()
    for attempt in active:
        run = observed.get(attempt.id)
        if run is not None and run.fencing_token != attempt.fencing_token:
            run = None
        if _changes(attempt, run):
            job = lock_job(session, attempt.job_id)
            session.refresh(attempt)
            if attempt.state in ATTEMPT_ACTIVE:
                _apply(session, job, attempt, run, now)
        if run is not None and (attempt.observed_at is None or now - attempt.observed_at >= HEARD_EVERY):
            if attempt.observed_at is not None and is_silent(attempt.observed_at, now):
                silence = {"attempt": attempt.id, "since": to_micros(attempt.observed_at), "until": to_micros(now)}
                session.execute(_SILENCE, silence)
            attempt.observed_at = now
            attempt.checkpoint_at = run.checkpoint_at or attempt.checkpoint_at


def desired(session: Session, cluster: ClusterRow) -> list[DesiredRun]:
    """Every attempt that must be running in the cluster."""
    wanted = _active(cluster.id).where(AttemptRow.stop_as.is_(None)).order_by(AttemptRow.fencing_token)
    rows = session.execute(wanted.join(JobRow).add_columns(JobRow)).all()
    specs = {job.id: JobSpec.model_validate(job.spec) for job in {job for _, job in rows}}
    return [_desired(attempt, job, specs[job.id]) for attempt, job in rows]


def _active(cluster: str) -> Select[AttemptRow]:
    return select(AttemptRow).where(AttemptRow.cluster_id == cluster, AttemptRow.state.in_(ATTEMPT_ACTIVE))


def _changes(attempt: AttemptRow, run: ObservedRun | None) -> bool:
    """Whether an observation says anything new: most say nothing, and then no job needs to be locked."""
    if run is None:
        return attempt.stop_as is not None or attempt.state != AttemptState.GRANTED
    begins = attempt.started_at is None and run.started_at is not None
    return begins or run.state in RUN_FINAL or attempt.state != _PROGRESS[run.state]


def _apply(session: Session, job: JobRow, attempt: AttemptRow, run: ObservedRun | None, now: datetime) -> None:
    if run is None:
        _apply_absence(session, job, attempt, now)
        return
    if run.started_at is not None and attempt.started_at is None:
        attempt.started_at = min(max(run.started_at, attempt.granted_at), now)
    if run.state not in RUN_FINAL:
        advance_attempt(session, job, attempt, _PROGRESS[run.state], _onward(attempt), now)
        return
    end, reason = _ending(attempt, run)
    attempt.exit_code = run.exit_code
    end_attempt(session, job, attempt, end, reason, min(run.finished_at or now, now), now)


def _apply_absence(session: Session, job: JobRow, attempt: AttemptRow, now: datetime) -> None:
    """The cluster does not have the run: it was stopped as asked, or it vanished; a fresh grant is simply still to be launched."""
    seen = attempt.observed_at or now
    if attempt.stop_as is not None:
        end_attempt(session, job, attempt, AttemptState(attempt.stop_as), _reason(attempt), seen, now)
    elif attempt.state == AttemptState.UNREACHABLE and attempt.observed_at is None:
        advance_attempt(session, job, attempt, AttemptState.GRANTED, _onward(attempt), now)
    elif attempt.state != AttemptState.GRANTED:
        end_attempt(session, job, attempt, AttemptState.LOST, Reason("run_vanished", {"cluster": attempt.cluster_id}), seen, now)


def _onward(attempt: AttemptRow) -> Reason:
    return Reason("cluster_back" if attempt.state == AttemptState.UNREACHABLE else "started", {"cluster": attempt.cluster_id})


def _ending(attempt: AttemptRow, run: ObservedRun) -> tuple[AttemptState, Reason]:
    if run.state is RunState.SUCCEEDED:
        return AttemptState.SUCCEEDED, Reason("succeeded")
    if attempt.stop_as is not None:
        return AttemptState(attempt.stop_as), _reason(attempt)
    if run.cause is not None:
        follows = CONSEQUENCES[run.cause]
        return follows.end, Reason(follows.reason, {"cluster": attempt.cluster_id, "detail": run.detail or "no detail"})
    if run.exit_code is not None:
        return AttemptState.FAILED, Reason("exit_code", {"exit_code": run.exit_code})
    return AttemptState.FAILED, Reason("failed_elsewhere", {"detail": run.detail or run.state.value})


def _reason(attempt: AttemptRow) -> Reason:
    return from_json(attempt.reason) if attempt.reason else Reason("cancelled")


def _desired(attempt: AttemptRow, job: JobRow, spec: JobSpec) -> DesiredRun:
    placements = [Placement.model_validate(placement) for placement in attempt.placements]
    return DesiredRun(
        attempt=attempt.id,
        fencing_token=attempt.fencing_token,
        job=job.id,
        name=spec.name,
        tenant=job.tenant_id,
        number=attempt.number,
        activity=spec.activity,
        entrypoint=list(spec.entrypoint),
        image=spec.image,
        working_dir=spec.working_dir,
        vendor=attempt.vendor,
        model=attempt.model,
        per_node=len(placements[0].devices),
        placements=placements,
        checkpoint_path=spec.checkpoint.path if spec.checkpoint else None,
        max_runtime_seconds=spec.max_runtime_seconds,
        array=None if attempt.task is None else ArrayIndex(index=attempt.task, size=spec.tasks),
    )
