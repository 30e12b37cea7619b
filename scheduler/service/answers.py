"""The engine's answers for one job of the live city, with the tenant's own contracts tried and every place priced after voucher."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.billing.metering import MILLI, holdings
from scheduler.contract.job import JobSpec
from scheduler.domain.clock import from_micros
from scheduler.domain.reasons import Reason
from scheduler.domain.tasks import job_of
from scheduler.engine.answers import Answer, Option, answer
from scheduler.engine.fleet import NO_KIND, Allocation, Fleet, Kind
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import GIB
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.staging import data_of
from scheduler.engine.topology import spans
from scheduler.engine.what_if import Variation
from scheduler.service.estimate import Estimate, Run, estimate
from scheduler.service.links import staging_cost
from scheduler.service.moments import Moment
from scheduler.service.offers import prices
from scheduler.service.registry import Registry
from scheduler.service.snapshot import dependency_states, queued_job
from scheduler.service.tags import Terms, claim_day
from scheduler.service.tasks import run_name
from scheduler.store.tables import AttemptRow, JobRow

MAX_CONTRACTS = 4
"""Other contracts of the tenant that are tried."""

_HYPOTHETICAL = "quote"
"""The id of a job that is only thought of; a real one begins with `job-`."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Micro-CNY."""

    listed: int
    contracted: int
    net: int


@dataclass(frozen=True, slots=True)
class PricedOption:
    """A place with what it costs: per hour as the engine compares it, and for the whole `max_runtime` as it would be charged,
    of an array for all its tasks side by side."""

    option: Option
    cluster: str
    kind: Kind | None
    spans: Mapping[str, int]
    per_hour: Amounts
    whole_run: Amounts
    estimate: Estimate
    staging_micros: int | None
    """What the links charge for bringing its data there, in no other amount; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and its prices."""

    answer: Answer
    options: tuple[PricedOption, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose job is asked about, and when."""

    tenant: str
    spec: JobSpec
    submitted_at: datetime
    now: datetime


def answer_spec(session: Session, moment: Moment, tenant: str, spec: JobSpec, now: datetime) -> Answered:
    """The answer for a job the tenant has not submitted, as if it were submitted now. Needs a session of the whole city."""
    return _answer(session, moment.registry, moment.snapshot, _HYPOTHETICAL, _Asked(tenant, spec, now, now))


def answer_job(session: Session, moment: Moment, job: JobRow, now: datetime) -> Answered:
    """The answer for a job that has not ended; for an array, that for the first of its tasks that wait, or else for its latest run.
    One that has a place is asked about as if it looked for one today, with its own cards free and nobody ahead of it. Needs a
    session of the whole city."""
    snapshot = moment.snapshot
    asked = _Asked(job.tenant_id, JobSpec.model_validate(job.spec), job.submitted_at, now)
    if job.tasks is not None:
        waiting = next((each for each in snapshot.queue if job_of(each.id) == job.id), None)
        name = waiting.id if waiting is not None else _latest_run(session, job)
    else:
        name = job.id
    own = [run for run in snapshot.runs if run.job == name]
    if own:
        free, usage = snapshot.free.copy(), snapshot.usage.copy()
        for run in own:
            free.give(run.place.allocations)
            usage.add(run.tenant, run.place, sign=-1)
        others = [run for run in snapshot.runs if run.job != name]
        snapshot = replace(snapshot, free=free, usage=usage, runs=others, queue=[], in_flight={})
    return _answer(session, moment.registry, snapshot, name, asked)


def _latest_run(session: Session, job: JobRow) -> str:
    latest = select(AttemptRow).where(AttemptRow.job_id == job.id, AttemptRow.number == job.attempts)
    return run_name(session.scalars(latest).one())


def _answer(session: Session, registry: Registry, snapshot: Snapshot, name: str, asked: _Asked) -> Answered:
    fleet = snapshot.fleet
    finished = dependency_states(session, [asked.spec])

    def as_queued(spec: JobSpec) -> QueuedJob:
        job = queued_job(registry, name, asked.tenant, asked.submitted_at, spec, finished, asked.now)
        stands = next((each for each in snapshot.queue if each.id == name), None)
        return job if stands is None else replace(job, back_off=stands.back_off, hold=stands.hold)

    varied = list(_other_contracts(registry, asked))
    terms = [Terms.of(asked.tenant, spec) for spec in (asked.spec, *(spec for spec, _ in varied))]
    known = {**(snapshot.prices or {}), **prices(registry, fleet, terms, asked.now)}
    others = [Variation(as_queued(spec), reason) for spec, reason in varied]
    found = answer(replace(snapshot, prices=known), as_queued(asked.spec), others)
    return Answered(found, tuple(_priced(registry, fleet, asked, option) for option in found.options))


def _other_contracts(registry: Registry, asked: _Asked) -> Iterator[tuple[JobSpec, Reason]]:
    """A job that names a contract is bound to one provider: with another contract of the tenant, or none, it may go elsewhere."""
    spec, day = asked.spec, claim_day(asked.now)
    if spec.contract is None:
        return
    bound = registry.contracts[spec.contract]
    in_force = [
        each
        for each in registry.contracts.values()
        if each.tenant == asked.tenant and each.provider != bound.provider and each.start <= day <= each.end
    ]
    for other in sorted(in_force, key=lambda each: each.id)[:MAX_CONTRACTS]:
        yield spec.model_copy(update={"contract": other.id}), Reason("change_other_contract", {"contract": other.id})
    yield spec.model_copy(update={"contract": None}), Reason("change_no_contract", {"contract": bound.id})


def _priced(registry: Registry, fleet: Fleet, asked: _Asked, option: Option) -> PricedOption:
    """The whole run from when it would start, where that is known, else from now."""
    offer, place = option.offer, option.offer.place
    cluster = fleet.clusters[place.cluster]
    kind = None if place.kind == NO_KIND else fleet.kinds[place.kind]
    start = asked.now if option.now or option.starts_at is None else from_micros(option.starts_at)
    tasks = asked.spec.tasks
    cores, memory_gib = (tasks * sum(amounts) for amounts in zip(*map(_beside, place.allocations), strict=True))
    run = Run(
        terms=Terms.of(asked.tenant, asked.spec),
        provider=registry.clusters[cluster].provider,
        hardware_class=kind.hardware_class if kind else None,
        held=holdings(cluster, kind.model if kind else None, tasks * place.card_milli(), cores * MILLI, memory_gib * MILLI),
        start=start,
        end=start + timedelta(seconds=asked.spec.max_runtime_seconds),
    )
    found = estimate(registry, run)
    return PricedOption(
        option=option,
        cluster=cluster,
        kind=kind,
        spans=spans(fleet, place.allocations),
        per_hour=Amounts(offer.list_per_hour, offer.contracted_per_hour, offer.net_per_hour),
        whole_run=Amounts(found.list_micros, found.contracted_micros, found.contracted_micros - found.saved_micros),
        estimate=found,
        staging_micros=staging_cost(registry.links, data_of((each.cluster, each.size_gib) for each in asked.spec.data), cluster),
    )


def _beside(part: Allocation) -> tuple[int, int]:
    """Whole cores and GiB of host memory, as a grant of it would say."""
    return part.cpu_milli // MILLI, part.memory_bytes // GIB
