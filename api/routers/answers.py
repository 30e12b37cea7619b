"""What would become of a job, and what becomes of one: the scheduling engine asked on the city as it is. Nothing is stored."""

from fastapi import APIRouter
from sqlalchemy import select

from api.answers import explanation_view, quote_view
from api.auth import TenantOnly, TenantOrStaff
from api.city import TheCity
from api.language import Lang
from api.routers.jobs import check_deadline, check_references, find_job
from api.views import recorded_clusters
from scheduler.contract.answers import Explanation, Quote
from scheduler.contract.job import JobSpec
from scheduler.domain.states import JOB_FINAL
from scheduler.service.answers import answer_job, answer_spec
from scheduler.store.database import CITY
from scheduler.store.tables import AttemptRow

router = APIRouter(prefix="/v1", tags=["answers"])


@router.post("/quotes")
def make_quote(spec: JobSpec, city: TheCity, principal: TenantOnly, language: Lang) -> Quote:
    """Where a job could go and what it would cost there, when it would start, and what change would help. Nothing is stored, and
    nothing is kept for it; a job too large for every cluster is answered `never`."""
    with city.database.read(principal.scope) as session:
        check_references(session, spec)
    now, heard_at = city.clock(), city.live.heard_at()
    check_deadline(spec, now)
    moment = city.moments.look(city.database, heard_at, now)
    with city.database.read(CITY) as session:  # who is ahead and what is taken is everybody's; the answer only counts them
        answered = answer_spec(session, moment, str(principal.subject), spec, now)
        return quote_view(answered, recorded_clusters(session), language, now)


@router.get("/jobs/{job_id}/explanation")
def get_explanation(job_id: str, city: TheCity, principal: TenantOrStaff, language: Lang) -> Explanation:
    """Why a job is where it is, or why it waits: position, start, places with prices, and what change would help."""
    with city.database.read(principal.scope) as session:
        job = find_job(session, job_id)
    now, heard_at = city.clock(), city.live.heard_at()
    moment = city.moments.look(city.database, heard_at, now)
    with city.database.read(CITY) as session:
        job = find_job(session, job_id)
        latest = select(AttemptRow).where(AttemptRow.job_id == job.id, AttemptRow.number == job.attempts)
        attempt = session.scalars(latest).one_or_none()
        answered = None if job.state in JOB_FINAL else answer_job(session, moment, job, now)
        return explanation_view(job, attempt, answered, recorded_clusters(session), language, now)
