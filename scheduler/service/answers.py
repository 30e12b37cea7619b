"""The engine's answers for one job of the live city, with the tenant's own contracts tried and every place priced after voucher."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from scheduler.contract.cost import Tag, TagStatus
from scheduler.contract.job import JobSpec
from scheduler.contract.registry import PricedItem
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import charge_up_to, parse_cny
from scheduler.domain.reasons import Reason
from scheduler.engine.answers import Answer, Option, answer
from scheduler.engine.fleet import NO_KIND, Fleet, Kind
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.staging import data_of
from scheduler.engine.topology import spans
from scheduler.engine.what_if import Variation
from scheduler.service.links import staging_cost
from scheduler.service.moments import Moment
from scheduler.service.offers import prices
from scheduler.service.registry import Registry
from scheduler.service.snapshot import dependency_states, queued_job
from scheduler.service.tags import Charge, Terms, claim_day, tags_for
from scheduler.store.tables import JobRow

MAX_CONTRACTS = 4
"""Other contracts of the tenant that are tried."""

_HYPOTHETICAL = "quote"
"""The id of a job that is only thought of; a real one begins with `job-`."""

_STRENGTH = {status: strength for strength, status in enumerate(TagStatus)}


@dataclass(frozen=True, slots=True)
class Amounts:
    """Micro-CNY."""

    listed: int
    contracted: int
    net: int


@dataclass(frozen=True, slots=True)
class PricedOption:
    """A place with what it costs: per hour, and for the whole `max_runtime` with the programme that answers best to that."""

    option: Option
    cluster: str
    kind: Kind | None
    spans: Mapping[str, int]
    per_hour: Amounts
    whole_run: Amounts
    tag: Tag | None
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
    """The answer for a job that has not ended. One that has a place is asked about as if it looked for one today, with its own
    cards free and nobody ahead of it. Needs a session of the whole city."""
    snapshot = moment.snapshot
    asked = _Asked(job.tenant_id, JobSpec.model_validate(job.spec), job.submitted_at, now)
    own = [run for run in snapshot.runs if run.job == job.id]
    if own:
        free, usage = snapshot.free.copy(), snapshot.usage.copy()
        for run in own:
            free.give(run.place.allocations)
            usage.add(run.tenant, run.place, sign=-1)
        others = [run for run in snapshot.runs if run.job != job.id]
        snapshot = replace(snapshot, free=free, usage=usage, runs=others, queue=[], in_flight={})
    return _answer(session, moment.registry, snapshot, job.id, asked)


def _answer(session: Session, registry: Registry, snapshot: Snapshot, job_id: str, asked: _Asked) -> Answered:
    fleet = snapshot.fleet
    finished = dependency_states(session, [asked.spec])

    def as_queued(spec: JobSpec) -> QueuedJob:
        job = queued_job(registry, job_id, asked.tenant, asked.submitted_at, spec, finished, asked.now)
        return replace(job, back_off=next((each.back_off for each in snapshot.queue if each.id == job_id), ()))

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
    offer, place = option.offer, option.offer.place
    cluster = fleet.clusters[place.cluster]
    kind = None if place.kind == NO_KIND else fleet.kinds[place.kind]
    contracted_price = offer.quote.contracted_price if offer.quote else 0
    seconds = asked.spec.max_runtime_seconds
    unit_seconds = offer.unit_milli * seconds // WHOLE_CARD_MILLI
    contracted = charge_up_to(unit_seconds * contracted_price)
    tag = _best_tag(registry, asked, cluster, kind.hardware_class if kind else None, contracted)
    saved = parse_cny(tag.capped) if tag is not None and counts(tag) else 0
    return PricedOption(
        option=option,
        cluster=cluster,
        kind=kind,
        spans=spans(fleet, place.allocations),
        per_hour=Amounts(offer.list_per_hour, offer.contracted_per_hour, offer.net_per_hour),
        whole_run=Amounts(
            charge_up_to(unit_seconds * offer.quote.list_price) if offer.quote else 0, contracted, contracted - saved
        ),
        tag=tag,
        staging_micros=staging_cost(registry.links, data_of((each.cluster, each.size_gib) for each in asked.spec.data), cluster),
    )


def counts(tag: Tag) -> bool:
    """Whether a programme's estimate lowers a net price: it is the one that would be claimed, and nothing about it is open."""
    return tag.selected and tag.status is TagStatus.ELIGIBLE


def _best_tag(registry: Registry, asked: _Asked, cluster: str, hardware_class: HardwareClass | None, amount: int) -> Tag | None:
    """What the programmes say of the whole run: the selected answer, else the strongest; None where none is in scope."""
    terms = Terms.of(asked.tenant, asked.spec)
    provider = registry.clusters[cluster].provider
    charge = Charge(
        item=PricedItem.CPU if hardware_class is None else PricedItem.ACCELERATOR,
        hardware_class=hardware_class,
        start=asked.now,
        end=asked.now + timedelta(seconds=asked.spec.max_runtime_seconds),
        amount=amount,
    )
    contract = registry.contract_for(asked.tenant, provider, asked.spec.contract, claim_day(asked.now))
    tags = [tag for tag in tags_for(registry, terms, provider, contract, charge) if tag.status is not TagStatus.NOT_IN_SCOPE]
    return max(tags, key=lambda tag: (tag.selected, _STRENGTH[tag.status], parse_cny(tag.capped)), default=None)
