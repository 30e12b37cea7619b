"""Answers as the API shows them, in the language asked for."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from api.views import at_risk, reason_view, stored_reason_view
from scheduler.contract.answers import (
    CostEstimate,
    DeadlineProspect,
    Explanation,
    HelpfulChange,
    PlacementOption,
    PlaceRefusal,
    PriceShare,
    QueuePosition,
    Quote,
    StagingEstimate,
    StartEstimate,
    VoucherEstimate,
    Whereabouts,
)
from scheduler.contract.base import ReasonView
from scheduler.contract.cost import Tag
from scheduler.contract.job import JobSpec
from scheduler.domain.clock import format_duration, from_micros, to_micros
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Language, Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, JobState
from scheduler.engine.answers import PastUse, Position, Refusal
from scheduler.engine.deadline import prospect_of_run
from scheduler.engine.start import Method, Start
from scheduler.engine.what_if import Change
from scheduler.service.answers import Amounts, Answered, PricedOption
from scheduler.service.estimate import Share, counts
from scheduler.service.tasks import waits
from scheduler.store.tables import AttemptRow, JobRow
from scheduler.subsidy.reasons import texts

_START = {
    Method.NOW: Reason("start_now"),
    Method.PROMISED: Reason("start_promised"),
    Method.SIMULATED: Reason("start_simulated"),
    Method.UNKNOWN: Reason("start_unknown"),
}


def quote_view(answered: Answered, recorded: frozenset[str], language: Language, now: datetime) -> Quote:
    answer = answered.answer
    return Quote(
        as_of=now,
        verdict=answer.verdict,
        reasons=[reason_view(reason, language) for reason in answer.reasons],
        position=_position(answer.position, language),
        start=_start(answer.start, language),
        options=[_option(each, recorded, language) for each in answered.options],
        elsewhere=_elsewhere(answer.refusals, language),
        changes=[_change(change, language) for change in answer.changes],
        limited=answer.limited,
        deadline=_deadline(answer.deadline, answer.remedies, language),
    )


def explanation_view(
    job: JobRow, attempt: AttemptRow | None, answered: Answered | None, recorded: frozenset[str], language: Language, now: datetime
) -> Explanation:
    """A waiting job is answered as a quote is; one with a place says why it is there; one that has ended, how."""
    placed = _whereabouts(attempt, recorded) if attempt is not None else None
    if answered is not None and waits(job):
        quote = quote_view(answered, recorded, language, now)
        return Explanation(**dict(quote), job=job.id, state=JobState(job.state), placed=placed)
    return Explanation(
        as_of=now,
        job=job.id,
        state=JobState(job.state),
        verdict="fit" if attempt is not None and attempt.state in ATTEMPT_ACTIVE else None,
        reasons=[stored_reason_view(reason, language) for reason in job.reasons],
        options=[_option(each, recorded, language) for each in answered.options] if answered else [],
        elsewhere=_elsewhere(answered.answer.refusals, language) if answered else [],
        limited=answered.answer.limited if answered else False,
        deadline=_deadline(_of_run(job, attempt), (), language),
        placed=placed,
        at_risk=at_risk(attempt, language, now) if attempt is not None else None,
    )


def _deadline(reason: Reason | None, changes: Sequence[Reason], language: Language) -> DeadlineProspect | None:
    if reason is None:
        return None
    told = [reason_view(change, language) for change in changes]
    return DeadlineProspect(deadline=reason.numbers["deadline"], reason=reason_view(reason, language), changes=told)


def _of_run(job: JobRow, attempt: AttemptRow | None) -> Reason | None:
    """What a run's end at the latest means for the deadline of its job."""
    spec = JobSpec.model_validate(job.spec)
    if spec.deadline is None or attempt is None or attempt.state not in ATTEMPT_ACTIVE:
        return None
    ends_by = (attempt.started_at or attempt.granted_at) + timedelta(seconds=spec.max_runtime_seconds)
    return prospect_of_run(to_micros(spec.deadline), to_micros(ends_by))


def _position(position: Position, language: Language) -> QueuePosition:
    text = Reason("position_in_queue", {"ahead": position.ahead, "competing": position.competing}).text(language)
    past_use = None if position.past_use is None else reason_view(_of_past(position.past_use), language)
    return QueuePosition(ahead=position.ahead, competing=position.competing, text=text, past_use=past_use)


def _of_past(past: PastUse) -> Reason:
    numbers: dict[str, str | int] = {
        "jobs": past.jobs,
        "hours": past.unit_hours,
        "half_life": format_duration(past.half_life_seconds),
    }
    if past.resource == "cpu":
        return Reason("position_past_cores", numbers)
    return Reason("position_past_cards", {**numbers, "class": past.resource})


def _start(start: Start, language: Language) -> StartEstimate:
    return StartEstimate(
        earliest=None if start.earliest is None else from_micros(start.earliest),
        latest=None if start.latest is None else from_micros(start.latest),
        method=start.method.value,
        text=_START[start.method].text(language),
    )


def _option(priced: PricedOption, recorded: frozenset[str], language: Language) -> PlacementOption:
    place, kind = priced.option.offer.place, priced.kind
    return PlacementOption(
        cluster=priced.cluster,
        recorded=priced.cluster in recorded,
        hardware_class=kind.hardware_class if kind else None,
        model=kind.model if kind else None,
        alternative=priced.option.alternative,
        nodes=place.nodes,
        mig=kind.mig or None if kind else None,
        cards=place.cards(),
        card_milli=place.card_milli(),
        cores=sum(part.cpu_milli for part in place.allocations) // 1000,
        spans=dict(priced.spans),
        now=priced.option.now,
        starts_at=None if priced.option.starts_at is None else from_micros(priced.option.starts_at),
        staging=_staging(priced),
        per_hour=_amounts(priced.per_hour),
        whole_run=_amounts(priced.whole_run),
        prices=[_share(each, language) for each in priced.estimate.shares],
        voucher=_voucher(priced.estimate.tag, priced.estimate.voucher_micros, language) if priced.estimate.tag else None,
    )


def _staging(priced: PricedOption) -> StagingEstimate:
    brought, cost = priced.option.staging, priced.staging_micros
    return StagingEstimate(
        seconds=None if brought.unknown_gib else brought.seconds,
        unknown_gib=brought.unknown_gib,
        cost=None if cost is None else format_cny(cost),
    )


def _share(share: Share, language: Language) -> PriceShare:
    return PriceShare(
        item=share.item,
        price_version=share.rate.version,
        tier=share.rate.tier,
        off_peak=share.rate.off_peak,
        list_price=format_cny(share.rate.list_micros),
        contracted_price=format_cny(share.rate.contracted_micros),
        unit_seconds=share.unit_seconds,
        list_amount=format_cny(share.list_micros),
        contracted_amount=format_cny(share.contracted_micros),
        reasons=[reason_view(reason, language) for reason in share.rate.reasons()],
    )


def _voucher(tag: Tag, micros: int, language: Language) -> VoucherEstimate:
    return VoucherEstimate(
        programme=tag.programme,
        version=tag.version,
        status=tag.status,
        estimate=format_cny(micros),
        counted=counts(tag),
        reasons=[ReasonView(code=code, text=texts(code, language)) for code in tag.reason_codes],
    )


def _amounts(amounts: Amounts) -> CostEstimate:
    return CostEstimate(
        list_amount=format_cny(amounts.listed),
        contracted_amount=format_cny(amounts.contracted),
        net_amount=format_cny(amounts.net),
    )


def _elsewhere(refusals: Sequence[Refusal], language: Language) -> list[PlaceRefusal]:
    return [
        PlaceRefusal(cluster=each.cluster, reasons=[reason_view(reason, language) for reason in each.reasons]) for each in refusals
    ]


def _change(change: Change, language: Language) -> HelpfulChange:
    offer = change.offer
    priced = offer.quote if offer else None
    return HelpfulChange(
        reason=reason_view(change.reason, language),
        cluster=change.cluster,
        stops=change.stops,
        per_hour=_amounts(Amounts(offer.list_per_hour, offer.contracted_per_hour, offer.net_per_hour))
        if offer and priced
        else None,
    )


def _whereabouts(attempt: AttemptRow, recorded: frozenset[str]) -> Whereabouts:
    return Whereabouts(
        cluster=attempt.cluster_id,
        recorded=attempt.cluster_id in recorded,
        hardware_class=HardwareClass(attempt.hardware_class) if attempt.hardware_class else None,
        model=attempt.model,
        nodes=[placement["node"] for placement in attempt.placements],
        mig=attempt.mig,
        cards=attempt.cards,
        card_milli=attempt.card_milli,
        since=attempt.started_at or attempt.granted_at,
    )
