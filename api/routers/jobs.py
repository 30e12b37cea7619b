"""Jobs: submit, look, cancel, and everything there is to know about one."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import TenantOnly, TenantOrOperator, TenantOrStaff
from api.city import City, TheCity
from api.idempotency import Keyed, once
from api.language import Lang
from api.limits import MAX_SEQUENCE
from api.problems import ProblemError, unknown_reference
from api.views import attempt_view, cost_summaries, event_view, job_views, recorded_clusters, task_view
from scheduler.contract.cost import CostRecord, JobCosts
from scheduler.contract.job import AttemptPage, EventPage, JobPage, JobSpec, JobView, TaskPage
from scheduler.contract.problem import FieldError
from scheduler.domain.clock import rfc3339
from scheduler.domain.money import format_cny
from scheduler.domain.states import JOB_FINAL, JobState
from scheduler.domain.tasks import MAX_TASKS
from scheduler.engine.explain import could_ever_fit
from scheduler.engine.order import Usage
from scheduler.engine.snapshot import Snapshot
from scheduler.service.journal import stored
from scheduler.service.lifecycle import lock_job, request_cancel, submit
from scheduler.service.registry import declared_queues
from scheduler.service.settlements import settled_micros
from scheduler.service.snapshot import queued_job
from scheduler.service.tasks import pending
from scheduler.store.tables import (
    AttemptRow,
    ClusterRow,
    ContractRow,
    CostRecordRow,
    JobEventRow,
    JobRow,
    ProgrammeRow,
    TaskRow,
)
from scheduler.subsidy.elsewhere import routed_elsewhere
from scheduler.subsidy.reasons import texts

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_PAGE = 200
MAX_ATTEMPTS = MAX_TASKS * 100
"""More attempts than a job may have, whatever its retries and how often it is preempted."""

MAX_JOB_RECORDS = 10_000

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(pattern=r"^job-[0-9a-z]{26}$")]
Task = Annotated[int | None, Query(ge=0, lt=MAX_TASKS, description="The index of a task of an array: only what is of that.")]


@router.post("", status_code=201, response_model=JobView)
def submit_job(spec: JobSpec, city: TheCity, principal: TenantOnly, keyed: Keyed, language: Lang) -> JSONResponse:
    """Queue a job. Refused, with nothing stored, if it names what does not exist or is larger than any cluster there is."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        tenant = str(principal.subject)
        check_references(session, spec)
        check_deadline(spec, city.clock())
        _check_size(city, tenant, spec)
        _check_pending(session, tenant, spec.tasks)
        now = city.clock()
        job = submit(session, city.make_id("job", now), tenant, spec, now)
        return 201, job_views(session, [job], language, now)[0]

    return once(city, principal, keyed, effect)


@router.get("")
def list_jobs(
    city: TheCity,
    principal: TenantOrStaff,
    language: Lang,
    limit: Limit = 50,
    after: Cursor = None,
    state: JobState | None = None,
) -> JobPage:
    """Jobs, newest first. `after` is the `next` of the page before."""
    query = select(JobRow).order_by(JobRow.id.desc()).limit(limit)
    if after is not None:
        query = query.where(JobRow.id < after)
    if state is not None:
        query = query.where(JobRow.state == state)
    with city.database.read(principal.scope) as session:
        jobs = session.scalars(query).all()
        return JobPage(jobs=job_views(session, jobs, language, city.clock()), next=jobs[-1].id if len(jobs) == limit else None)


@router.get("/{job_id}")
def get_job(job_id: str, city: TheCity, principal: TenantOrStaff, language: Lang) -> JobView:
    with city.database.read(principal.scope) as session:
        return job_views(session, [find_job(session, job_id)], language, city.clock())[0]


@router.post("/{job_id}/cancel", status_code=202, response_model=JobView)
def cancel_job(job_id: str, city: TheCity, principal: TenantOrOperator, keyed: Keyed, language: Lang) -> JSONResponse:
    """Cancel a waiting job at once; ask a running one to stop."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        find_job(session, job_id)
        job = lock_job(session, job_id)
        if job.state in JOB_FINAL:
            raise ProblemError("job_finished", id=job_id, state=job.state)
        request_cancel(session, job, city.clock())
        return 202, job_views(session, [job], language, city.clock())[0]

    return once(city, principal, keyed, effect)


@router.get("/{job_id}/tasks")
def list_tasks(
    job_id: str,
    city: TheCity,
    principal: TenantOrStaff,
    limit: Limit = 50,
    after: Annotated[int, Query(ge=-1, lt=MAX_TASKS)] = -1,
    state: JobState | None = None,
) -> TaskPage:
    """The tasks of an array that have begun, by index; of a job that is none, no task. `after` is the `next` of the page before."""
    query = select(TaskRow).where(TaskRow.job_id == job_id, TaskRow.index > after).order_by(TaskRow.index).limit(limit)
    if state is not None:
        query = query.where(TaskRow.state == state)
    with city.database.read(principal.scope) as session:
        job = find_job(session, job_id)
        tasks = session.scalars(query).all()
        following = str(tasks[-1].index) if len(tasks) == limit else None
        return TaskPage(tasks=[task_view(task) for task in tasks], begun=job.tasks_begun, next=following)


@router.get("/{job_id}/attempts")
def list_attempts(
    job_id: str,
    city: TheCity,
    principal: TenantOrStaff,
    language: Lang,
    limit: Limit = MAX_PAGE,
    after: Annotated[int, Query(ge=0, le=MAX_ATTEMPTS)] = 0,
    task: Task = None,
) -> AttemptPage:
    """Every placement of the job, or of one task of it, in order. `after` is the `next` of the page before."""
    query = (
        select(AttemptRow).where(AttemptRow.job_id == job_id, AttemptRow.number > after).order_by(AttemptRow.number).limit(limit)
    )
    if task is not None:
        query = query.where(AttemptRow.task == task)
    with city.database.read(principal.scope) as session:
        find_job(session, job_id)
        attempts, recorded, now = session.scalars(query).all(), recorded_clusters(session), city.clock()
        following = str(attempts[-1].number) if len(attempts) == limit else None
        return AttemptPage(attempts=[attempt_view(attempt, recorded, language, now) for attempt in attempts], next=following)


@router.get("/{job_id}/events")
def list_events(
    job_id: str,
    city: TheCity,
    principal: TenantOrStaff,
    language: Lang,
    limit: Limit = 50,
    after: Annotated[int, Query(ge=0, le=MAX_SEQUENCE)] = 0,
    task: Task = None,
) -> EventPage:
    """What happened to the job, or to one task of it, oldest first."""
    query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.id > after).order_by(JobEventRow.id).limit(limit)
    if task is not None:
        query = query.where(JobEventRow.task == task)
    with city.database.read(principal.scope) as session:
        find_job(session, job_id)
        events = session.scalars(query).all()
        following = str(events[-1].id) if len(events) == limit else None
        return EventPage(events=[event_view(event, language) for event in events], next=following)


@router.get("/{job_id}/costs")
def get_costs(job_id: str, city: TheCity, principal: TenantOrStaff) -> JobCosts:
    """Every posted cost line of the job with its eligibility tags, and their sum."""
    query = select(CostRecordRow).where(CostRecordRow.job_id == job_id).order_by(CostRecordRow.sequence).limit(MAX_JOB_RECORDS)
    with city.database.read(principal.scope) as session:
        job = find_job(session, job_id)
        records = session.scalars(query).all()
        unmetered = session.scalars(select(AttemptRow.id).where(AttemptRow.job_id == job_id, AttemptRow.metered.is_(False))).first()
        total = cost_summaries(session, [job_id])[job_id]
        settled = settled_micros(session, job_id)
    return JobCosts(
        job=job_id,
        state="final" if job.state in JOB_FINAL and unmetered is None else "open",
        list_amount=total.list_amount,
        contracted_amount=total.contracted_amount,
        voucher_estimate=total.voucher_estimate,
        voucher_settled=None if settled is None else format_cny(settled),
        net_amount=total.net_amount,
        records=[CostRecord.model_validate_json(stored(record).served()) for record in records],
    )


def find_job(session: Session, job_id: str) -> JobRow:
    """A job in the caller's scope; another tenant's job is as absent as one that never was."""
    job = session.get(JobRow, job_id)
    if job is None:
        raise ProblemError("not_found", noun="job", id=job_id[:128])
    return job


def check_references(session: Session, spec: JobSpec) -> None:
    if spec.contract is not None and session.get(ContractRow, spec.contract) is None:
        raise unknown_reference("contract", "contract", spec.contract)
    if spec.voucher is not None and not spec.declines_vouchers:
        _check_programme(session, "voucher.programme", spec.voucher.programme)
    for position, dataset in enumerate(spec.data):
        if dataset.cluster is not None and session.get(ClusterRow, dataset.cluster) is None:
            raise unknown_reference(f"data.{position}.cluster", "cluster", dataset.cluster)
    for position, job_id in enumerate(spec.depends_on):
        if session.get(JobRow, job_id) is None:
            raise unknown_reference(f"depends_on.{position}", "job", job_id)


def check_deadline(spec: JobSpec, now: datetime) -> None:
    """Refuse a deadline that nothing submitted now can keep, because it has passed."""
    if spec.deadline is not None and spec.deadline <= now:
        numbers = {"deadline": rfc3339(spec.deadline), "now": rfc3339(now)}
        message, message_zh = "a moment in the future is needed", "须为将来的时间"
        raise ProblemError("deadline_in_past", [FieldError(field="deadline", message=message, message_zh=message_zh)], **numbers)


def _check_programme(session: Session, field: str, programme: str) -> None:
    """Refuse a programme that is not loaded, and one that pays for something else than jobs by saying what."""
    scheme = routed_elsewhere().get(programme)
    if scheme is not None:
        error = FieldError(field=field, code="not_in_scope", message=texts("not_in_scope"), message_zh=texts("not_in_scope", "zh"))
        what = {"what": scheme.pays_for.en, "what_zh": scheme.pays_for.zh}
        raise ProblemError("programme_not_in_scope", [error], field=field, programme=programme, **what)
    if session.scalars(select(ProgrammeRow).where(ProgrammeRow.programme == programme).limit(1)).first() is None:
        raise unknown_reference(field, "programme", programme)


def _check_pending(session: Session, tenant: str, tasks: int) -> None:
    """Refuse what would make a tenant's queue longer than its operator allows; every task of an array counts."""
    queue = next((queue for queue in declared_queues(session) if queue.name == tenant), None)
    if queue is None or queue.max_pending is None:
        return
    if pending(session, JobRow.tenant_id == tenant)[tenant] + tasks > queue.max_pending:
        raise ProblemError("queue_full", limit=queue.max_pending)


def _check_size(city: City, tenant: str, spec: JobSpec) -> None:
    """Refuse what is larger than every cluster, in each alternative. Hardware nobody has yet may still come, as may a label or a
    newer driver on nodes that are there: such a job waits."""
    now = city.clock()
    fleet = city.moments.sizes(city.database)
    job = queued_job(city.moments.registry(city.database), "", tenant, now, spec, {}, now)
    job = replace(job, shapes=tuple(replace(shape, constraints=()) for shape in job.shapes))
    verdict = could_ever_fit(Snapshot(0, fleet, fleet.all_free(), Usage.none(fleet), (job,)), job)
    if verdict is not None and all(reason.code.startswith("never_larger") for reason in verdict.reasons):
        reason = verdict.reasons[0]
        error = FieldError(field="hardware.nodes", message=reason.text("en"), message_zh=reason.text("zh"))
        raise ProblemError("job_never_fits", [error], reason=reason.text("en"), reason_zh=reason.text("zh"))
