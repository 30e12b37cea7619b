"""Rows as the API shows them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.billing.metering import whole_seconds
from scheduler.billing.timeline import lost_from
from scheduler.contract.base import EventView, ReasonView
from scheduler.contract.job import AtRisk, AttemptView, CostSummary, JobSpec, JobView, TaskView
from scheduler.contract.registry import Cluster, Launcher
from scheduler.domain.clock import format_duration
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Language, Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, AttemptState, JobState
from scheduler.service.lifecycle import from_json
from scheduler.store.tables import AttemptRow, ClusterRow, JobCostRow, JobEventRow, JobRow, Json, TaskRow

_NOTHING = dict.fromkeys(("unit_seconds", "card_seconds", "list_micros", "contracted_micros", "voucher_micros"), 0)


def reason_view(reason: Reason, language: Language) -> ReasonView:
    return ReasonView(code=reason.code, numbers=dict(reason.numbers), text=reason.text(language))


def stored_reason_view(stored: Json, language: Language) -> ReasonView:
    return reason_view(from_json(stored), language)


def job_views(session: Session, jobs: Sequence[JobRow], language: Language, now: datetime) -> list[JobView]:
    """Jobs with their costs so far, where their latest attempt is and what it would lose now."""
    ids = [job.id for job in jobs]
    latest = {row.job_id: row for row in session.scalars(select(AttemptRow).join(JobRow).where(*_latest(ids)))}
    costs = cost_summaries(session, ids)
    recorded = recorded_clusters(session)
    return [_job_view(job, latest.get(job.id), costs[job.id], recorded, language, now) for job in jobs]


def cost_summaries(session: Session, jobs: Sequence[str]) -> Mapping[str, CostSummary]:
    """What each job has cost so far; jobs without a posted line cost nothing yet."""
    found: defaultdict[str, CostSummary] = defaultdict(lambda: _summary(JobCostRow(**_NOTHING)))
    for row in session.scalars(select(JobCostRow).where(JobCostRow.job_id.in_(jobs))):
        found[row.job_id] = _summary(row)
    return found


def attempt_view(attempt: AttemptRow, recorded: frozenset[str], language: Language, now: datetime) -> AttemptView:
    return AttemptView(
        id=attempt.id,
        number=attempt.number,
        task=attempt.task,
        state=AttemptState(attempt.state),
        cluster=attempt.cluster_id,
        recorded=attempt.cluster_id in recorded,
        fencing_token=attempt.fencing_token,
        hardware_class=HardwareClass(attempt.hardware_class) if attempt.hardware_class else None,
        model=attempt.model,
        nodes=[placement["node"] for placement in attempt.placements],
        mig=attempt.mig,
        cards=attempt.cards,
        card_milli=attempt.card_milli,
        granted_at=attempt.granted_at,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        exit_code=attempt.exit_code,
        at_risk=at_risk(attempt, language, now),
        reasons=[stored_reason_view(attempt.reason, language)] if attempt.reason else [],
    )


def at_risk(attempt: AttemptRow, language: Language, now: datetime) -> AtRisk | None:
    """What an attempt would lose if it were stopped now; None unless its program runs."""
    if attempt.started_at is None or attempt.state not in ATTEMPT_ACTIVE:
        return None
    since, saved_at = lost_from(attempt.started_at, attempt.checkpoint_at, now), attempt.checkpoint_at
    seconds = max(0, whole_seconds(since, now))
    card_seconds = seconds * attempt.card_milli // 1000
    saved = saved_at is not None and saved_at >= attempt.started_at
    numbers: dict[str, str | int] = {"age": format_duration(seconds), "card_seconds": card_seconds}
    reason = Reason("checkpoint_saved" if saved else "no_checkpoint", numbers)
    return AtRisk(checkpoint_at=saved_at, seconds=seconds, card_seconds=card_seconds, reason=reason_view(reason, language))


def task_view(task: TaskRow) -> TaskView:
    return TaskView(
        index=task.index,
        state=JobState(task.state),
        attempt=task.attempt,
        tries=task.tries,
        failures=task.failures,
        losses=task.losses,
    )


def event_view(event: JobEventRow, language: Language) -> EventView:
    return EventView(
        at=event.at, state=event.state, attempt=event.attempt, task=event.task, reason=stored_reason_view(event.reason, language)
    )


def recorded_clusters(session: Session) -> frozenset[str]:
    """Clusters that play back a recording: everything that happens there is labelled so."""
    clusters = (Cluster.model_validate(row.body) for row in session.scalars(select(ClusterRow)))
    return frozenset(cluster.id for cluster in clusters if cluster.launcher is Launcher.RECORDED)


def _latest(jobs: Sequence[str]):  # type: ignore[no-untyped-def]
    return AttemptRow.number == JobRow.attempts, JobRow.id.in_(jobs)


def _job_view(
    job: JobRow, attempt: AttemptRow | None, costs: CostSummary, recorded: frozenset[str], language: Language, now: datetime
) -> JobView:
    return JobView(
        id=job.id,
        tenant=job.tenant_id,
        state=JobState(job.state),
        verdict=job.verdict,
        reasons=[stored_reason_view(reason, language) for reason in job.reasons],
        spec=JobSpec.model_validate(job.spec),
        submitted_at=job.submitted_at,
        finished_at=job.finished_at,
        attempts=job.attempts,
        cluster=attempt.cluster_id if attempt else None,
        recorded=attempt is not None and attempt.cluster_id in recorded,
        hardware_class=HardwareClass(attempt.hardware_class) if attempt and attempt.hardware_class else None,
        model=attempt.model if attempt else None,
        costs=costs,
        tasks=job.tasks,
        at_risk=at_risk(attempt, language, now) if attempt and job.tasks is None else None,
    )


def _summary(sums: JobCostRow) -> CostSummary:
    return CostSummary(
        card_seconds=sums.card_seconds,
        core_seconds=sums.unit_seconds - sums.card_seconds,
        list_amount=format_cny(sums.list_micros),
        contracted_amount=format_cny(sums.contracted_micros),
        voucher_estimate=format_cny(sums.voucher_micros),
        net_amount=format_cny(sums.contracted_micros - sums.voucher_micros),
        programme=sums.programme,
    )
