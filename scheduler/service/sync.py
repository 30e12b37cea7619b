"""The city's half of the sync protocol: what a cluster observes becomes state, and what it must run is answered.

The rules are those of `scheduler.contract.sync`. Everything here is level-triggered: applying one observation twice, or
missing some, changes nothing in the end.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.contract.sync import RUN_FINAL, ArrayIndex, DesiredRun, ObservedRun, Placement, RunState, SyncRequest
from scheduler.domain.clock import to_micros
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, AttemptState
from scheduler.service.causes import CONSEQUENCES
from scheduler.service.lifecycle import advance_attempt, end_attempt, from_json, lock_job
from scheduler.service.snapshot import is_silent
from scheduler.store.agent_tables import ClusterAgentRow
from scheduler.store.tables import AttemptRow, ClusterRow, JobRow

HEARD_EVERY = timedelta(seconds=4)
"""`clusters.heard_at` and `attempts.observed_at` are written at most this often: an agent that syncs at every change costs no more
writes than a quiet one, which syncs every five seconds or so."""

AGENT_SILENT = timedelta(seconds=15)
"""An agent that has not synced for so long may be replaced by another: three syncs of a quiet cluster."""

CLOCK_TOLERANCE = timedelta(seconds=5)
"""By how much a cluster's clock may be behind the city's and still be believed."""

_SILENCE = text("INSERT INTO silences (attempt_id, since, until) VALUES (:attempt, :since, :until) ON CONFLICT DO NOTHING")
"""Of two requests that come at once, one says it."""

_SPEAKER = text("INSERT INTO cluster_agents (cluster_id, name) VALUES (:cluster, :agent) ON CONFLICT DO NOTHING")

_DESIRED = AttemptRow.stop_as.is_(None), AttemptRow.finished_at.is_(None)
"""Of attempts, those that their clusters must run; the index `ix_attempts_desired` holds these alone."""

_PROGRESS = {RunState.STARTING: AttemptState.STARTING, RunState.RUNNING: AttemptState.RUNNING}


class ClusterTakenError(Exception):
    """Another agent speaks for the cluster. `seconds`: after how long without a word from it it may be replaced."""

    def __init__(self, agent: str, seconds: int) -> None:
        super().__init__(agent)
        self.agent = agent
        self.seconds = seconds


def observe(session: Session, cluster: ClusterRow, request: SyncRequest, now: datetime) -> None:
    """Apply what a cluster's agent observes to every attempt the city believes is there.

    Raises ClusterTakenError, with nothing applied, while another agent speaks for the cluster.
    """
    _hear(session, cluster, request.agent, now)
    observed = {(run.attempt, run.fencing_token): run for run in request.observed}
    others = frozenset(request.others)
    active = session.scalars(_active(cluster.id).order_by(AttemptRow.job_id)).all()
    for attempt in active:
        if attempt.fencing_token in others:
            _hear_of(session, attempt, now)
            continue
        run = observed.get((attempt.id, attempt.fencing_token))
        if _changes(attempt, run):
            job = lock_job(session, attempt.job_id)
            session.refresh(attempt)
            if attempt.state in ATTEMPT_ACTIVE:
                _apply(session, job, attempt, run, now)
        if run is not None and _hear_of(session, attempt, now):
            attempt.checkpoint_at = min(run.checkpoint_at, now) if run.checkpoint_at else attempt.checkpoint_at


def desired(session: Session, cluster: ClusterRow) -> list[DesiredRun]:
    """Every attempt that must be running in the cluster."""
    wanted = select(AttemptRow).where(AttemptRow.cluster_id == cluster.id, *_DESIRED).order_by(AttemptRow.fencing_token)
    rows = session.execute(wanted.join(JobRow).add_columns(JobRow)).all()
    specs = {job.id: JobSpec.model_validate(job.spec) for job in {job for _, job in rows}}
    lost = _given_up(session, cluster.id, [attempt.job_id for attempt, _ in rows if attempt.tries > 1])
    return [_desired(attempt, job, specs[job.id], lost.get((job.id, attempt.task), ())) for attempt, job in rows]


def revision_of(runs: Sequence[DesiredRun]) -> str:
    """The revision of what a cluster must run: how many runs, and the greatest fencing token among them.

    That names the set. A run that joins has a greater token than any before it (one counter, locked until a grant is committed) and
    none comes back that has left: as long as the greatest is the same none has joined, and then the number says if any has left.
    """
    return f"{len(runs)}-{max((run.fencing_token for run in runs), default=0)}"


def revisions(session: Session, clusters: Collection[str]) -> Mapping[str, str]:
    """The same for each of some clusters, by one query on an index that holds nothing else."""
    row = AttemptRow
    wanted = row.cluster_id.in_(clusters), *_DESIRED
    rows = session.execute(
        select(row.cluster_id, func.count(), func.max(row.fencing_token)).where(*wanted).group_by(row.cluster_id)
    )
    return dict.fromkeys(clusters, "0-0") | {cluster: f"{count}-{latest}" for cluster, count, latest in rows}


def _hear(session: Session, cluster: ClusterRow, agent: str, now: datetime) -> None:
    """Note that an agent speaks for its cluster. Raises ClusterTakenError while another one does.

    Two that spoke in turn, each of a site of its own, would declare each other's runs gone and launch every grant twice.
    """
    if session.scalar(select(ClusterAgentRow.name).where(ClusterAgentRow.cluster_id == cluster.id)) != agent:
        session.execute(_SPEAKER, {"cluster": cluster.id, "agent": agent})
        speaker = session.get_one(ClusterAgentRow, cluster.id, with_for_update=True)
        session.refresh(cluster, ["heard_at"])  # as it is now that no other agent can speak in between
        silence = None if cluster.heard_at is None else now - cluster.heard_at
        if speaker.name != agent and silence is not None and silence < AGENT_SILENT:
            raise ClusterTakenError(speaker.name, -((silence - AGENT_SILENT) // timedelta(seconds=1)))
        speaker.name = agent
    if cluster.heard_at is None or now - cluster.heard_at >= HEARD_EVERY:
        cluster.heard_at = now


def _hear_of(session: Session, attempt: AttemptRow, now: datetime) -> bool:
    """Note now and then that an attempt was reported, and how long nobody had; whether it was noted."""
    if attempt.observed_at is not None and now - attempt.observed_at < HEARD_EVERY:
        return False
    if attempt.observed_at is not None and is_silent(attempt.observed_at, now):
        silence = {"attempt": attempt.id, "since": to_micros(attempt.observed_at), "until": to_micros(now)}
        session.execute(_SILENCE, silence)
    attempt.observed_at = now
    return True


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
        attempt.started_at = _started(run.started_at, attempt.granted_at, now)
    if run.state not in RUN_FINAL:
        advance_attempt(session, job, attempt, _PROGRESS[run.state], _onward(attempt, run.state), now)
        return
    end, reason = _ending(attempt, run)
    attempt.exit_code = run.exit_code
    end_attempt(session, job, attempt, end, reason, _finished(attempt, run, now), now)


def _started(told: datetime, granted_at: datetime, now: datetime) -> datetime:
    """When a program began: as its cluster tells it, unless that cannot be. A clock that is behind by more than two clocks may
    differ says nothing, and then the program is known to run from now on only."""
    return min(max(told, granted_at), now) if told >= granted_at - CLOCK_TOLERANCE else now


def _finished(attempt: AttemptRow, run: ObservedRun, now: datetime) -> datetime:
    """When a run ended: not in the future, and not later than its cluster's own clock says that it took. So nothing is charged of
    the time after its end in which nobody told of it, however wrong that clock is."""
    finished_at = min(run.finished_at or now, now)
    if run.started_at is None or run.finished_at is None or attempt.started_at is None:
        return finished_at
    return min(finished_at, attempt.started_at + max(timedelta(), run.finished_at - run.started_at))


def _apply_absence(session: Session, job: JobRow, attempt: AttemptRow, now: datetime) -> None:
    """The cluster does not have the run: it was stopped as asked, or it vanished; a fresh grant is simply still to be launched."""
    seen = attempt.observed_at or now
    if attempt.stop_as is not None:
        end_attempt(session, job, attempt, AttemptState(attempt.stop_as), _reason(attempt), seen, now)
    elif attempt.state == AttemptState.UNREACHABLE and attempt.observed_at is None:
        advance_attempt(session, job, attempt, AttemptState.GRANTED, Reason("cluster_back", {"cluster": attempt.cluster_id}), now)
    elif attempt.state != AttemptState.GRANTED:
        end_attempt(session, job, attempt, AttemptState.LOST, Reason("run_vanished", {"cluster": attempt.cluster_id}), seen, now)


def _onward(attempt: AttemptRow, state: RunState) -> Reason:
    where = {"cluster": attempt.cluster_id}
    if attempt.state == AttemptState.UNREACHABLE:
        return Reason("cluster_back", where)
    return Reason("taken_up", where) if state is RunState.STARTING else Reason("started", where)


def _ending(attempt: AttemptRow, run: ObservedRun) -> tuple[AttemptState, Reason]:
    if run.state is RunState.SUCCEEDED:
        return AttemptState.SUCCEEDED, Reason("succeeded")
    if attempt.stop_as is not None:
        return AttemptState(attempt.stop_as), _reason(attempt)
    if run.cause is not None:
        follows = CONSEQUENCES[run.cause]
        return follows.end, Reason(follows.reason, {"cluster": attempt.cluster_id, "detail": run.detail or "no detail"})
    if run.exit_code is not None and run.ranks > 1 and run.detail:
        return AttemptState.FAILED, Reason("rank_failed", {"exit_code": run.exit_code, "detail": run.detail})
    if run.exit_code is not None:
        return AttemptState.FAILED, Reason("exit_code", {"exit_code": run.exit_code})
    return AttemptState.FAILED, Reason("failed_elsewhere", {"detail": run.detail or run.state.value})


def _reason(attempt: AttemptRow) -> Reason:
    return from_json(attempt.reason) if attempt.reason else Reason("cancelled")


def _given_up(session: Session, cluster: str, jobs: Collection[str]) -> Mapping[tuple[str, int | None], Sequence[str]]:
    """Of some jobs, or tasks of arrays, the attempts in a cluster that were lost: they may be alive there."""
    found: defaultdict[tuple[str, int | None], list[str]] = defaultdict(list)
    lost = AttemptRow.job_id.in_(jobs), AttemptRow.cluster_id == cluster, AttemptRow.state == AttemptState.LOST
    for attempt in session.scalars(select(AttemptRow).where(*lost).order_by(AttemptRow.fencing_token)):
        found[attempt.job_id, attempt.task].append(attempt.id)
    return found


def _desired(attempt: AttemptRow, job: JobRow, spec: JobSpec, replaces: Sequence[str]) -> DesiredRun:
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
        replaces=list(replaces),
    )
