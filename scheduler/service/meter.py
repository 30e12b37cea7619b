"""Running time becomes cost records: hourly while an attempt runs and once at its end, tagged, chained and appended.

One transaction posts a batch: the records, the attempts' `metered_until`, the chain's head and the use of caps. A crash leaves
either all of it or none, and the next turn goes on from `metered_until`. Only the leader posts, so caps are consumed in order.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from scheduler.billing.journal import Head, append, canonical
from scheduler.billing.metering import Carried, Line, carried_after, meter, whole_seconds
from scheduler.contract.cost import CostRecord, Tag
from scheduler.contract.job import JobSpec
from scheduler.contract.registry import Contract, Launcher, PricedItem
from scheduler.contract.sync import Placement
from scheduler.domain.clock import CHINA, rfc3339
from scheduler.domain.hardware import HardwareClass, shipped_catalogue
from scheduler.domain.mig import WHOLE_CARD_MILLI
from scheduler.domain.money import format_cny, parse_cny
from scheduler.domain.states import ATTEMPT_FINAL, AttemptState
from scheduler.service.registry import Registry
from scheduler.service.tags import Charge, Terms, claim_day, tags_for
from scheduler.store.tables import AttemptRow, ContractUseRow, CostRecordRow, JobRow, JournalHeadRow, SubsidyUseRow

FEED = "cost-records"
BATCH = 500
"""Attempts metered in one transaction."""


@dataclass
class _Posting:
    """What one transaction has posted so far; the caps it used count for its own later lines."""

    session: Session
    registry: Registry
    now: datetime
    new_id: Callable[[str], str]
    head: Head
    carried: dict[str, Carried] = field(default_factory=dict)


def is_due(session: Session, every: timedelta, now: datetime) -> bool:
    """Whether there is anything to post."""
    return session.scalars(_due(every, now).limit(1).with_only_columns(AttemptRow.id)).first() is not None


def post_due(session: Session, registry: Registry, every: timedelta, now: datetime, new_id: Callable[[str], str]) -> int:
    """Post the lines of up to `BATCH` attempts that have ended, or ran for `every` since their last line.

    Returns how many records were posted; call again while that is not zero.
    """
    due = session.scalars(_due(every, now)).all()
    if not due:
        return 0
    head_row = session.get(JournalHeadRow, FEED, with_for_update=True)
    if head_row is None:
        head_row = JournalHeadRow(feed=FEED, sequence=Head().sequence, hash=Head().hash)
        session.add(head_row)
    posting = _Posting(session, registry, now, new_id, Head(head_row.sequence, head_row.hash))
    before = posting.head.sequence
    for attempt in due:
        _post_attempt(posting, attempt)
    head_row.sequence, head_row.hash = posting.head.sequence, posting.head.hash
    return posting.head.sequence - before


def _due(every: timedelta, now: datetime) -> Select[AttemptRow]:
    since = func.coalesce(AttemptRow.metered_until, AttemptRow.started_at)
    ended = AttemptRow.state.in_(ATTEMPT_FINAL)
    interval_over = (since <= now - every) & (AttemptRow.observed_at > since)
    return (
        select(AttemptRow)
        .where(AttemptRow.metered.is_(False), AttemptRow.started_at.is_not(None), ended | interval_over)
        .order_by(AttemptRow.fencing_token)
        .limit(BATCH)
        .with_for_update()
    )


def _post_attempt(posting: _Posting, attempt: AttemptRow) -> None:
    """Charge [metered_until or start, end or last observation). Whole seconds only; a rest under a second is not charged."""
    final = attempt.state in ATTEMPT_FINAL
    start = attempt.metered_until or attempt.started_at
    end = attempt.finished_at if final else attempt.observed_at
    if start is None or end is None or (not final and whole_seconds(start, end) == 0):
        return
    job = posting.session.get_one(JobRow, attempt.job_id)
    spec = JobSpec.model_validate(job.spec)
    item = PricedItem.ACCELERATOR if attempt.cards else PricedItem.CPU
    for line in meter(
        sku=(attempt.cluster_id, item, attempt.model),
        unit_milli=attempt.card_milli if attempt.cards else attempt.cores * WHOLE_CARD_MILLI,
        since=attempt.started_at or start,
        start=start,
        end=max(start, end),
        book=posting.registry.book,
        boundaries=_policy_days(posting.registry),
        carried=_carried(posting, job.id),
    ):
        _post_line(posting, job, spec, attempt, item, line)
    attempt.metered_until, attempt.metered = max(start, end), final


def _post_line(posting: _Posting, job: JobRow, spec: JobSpec, attempt: AttemptRow, item: PricedItem, line: Line) -> None:
    registry = posting.registry
    provider = registry.clusters[attempt.cluster_id].provider
    contract = registry.contracts.get(attempt.contract_id or "")
    hardware_class = HardwareClass(attempt.hardware_class) if attempt.hardware_class else None
    charge = Charge(item, hardware_class, line.start, line.end, line.contracted_micros)
    tags = tags_for(registry, Terms.of(job.tenant_id, spec), provider, contract, charge)
    body = _record(posting, job, spec, attempt, provider, contract, item, line, tags)
    posting.head, linked = append(posting.head, body)
    CostRecord.model_validate(linked)  # what is posted for ever is checked against its contract first
    selected = next((tag for tag in tags if tag.selected), None)
    posting.session.add(
        CostRecordRow(
            sequence=linked["sequence"],
            id=linked["id"],
            tenant_id=job.tenant_id,
            job_id=job.id,
            contract_id=contract.id if contract else None,
            card_seconds=linked["card_seconds"],
            unit_seconds=line.unit_seconds,
            list_price_micros=line.price.list_micros,
            contracted_price_micros=line.price.contracted_micros,
            list_micros=line.list_micros,
            contracted_micros=line.contracted_micros,
            voucher_micros=parse_cny(selected.capped) if selected else 0,
            programme=selected.programme if selected else None,
            payload=canonical(linked),
            hash=linked["hash"],
        )
    )
    carried = posting.carried[job.id]
    posting.carried[job.id] = carried_after(
        carried.list_part + line.unit_seconds * line.price.list_micros,
        carried.contracted_part + line.unit_seconds * line.price.contracted_micros,
        line.list_micros,
        line.contracted_micros,
    )
    _consume(posting, job.tenant_id, contract, line, selected)
    posting.session.flush()


def _record(
    posting: _Posting,
    job: JobRow,
    spec: JobSpec,
    attempt: AttemptRow,
    provider: str,
    contract: Contract | None,
    item: PricedItem,
    line: Line,
    tags: list[Tag],
) -> dict[str, object]:
    placements = [Placement.model_validate(placement) for placement in attempt.placements]
    seconds = whole_seconds(line.start, line.end)
    return {
        "id": posting.new_id("cost"),
        "posted_at": rfc3339(posting.now),
        "tenant": job.tenant_id,
        "provider": provider,
        "contract": contract.id if contract else None,
        "job": job.id,
        "attempt": attempt.id,
        "attempt_number": attempt.number,
        "cluster": attempt.cluster_id,
        "recorded": posting.registry.clusters[attempt.cluster_id].launcher is Launcher.RECORDED,
        "nodes": [placement.node for placement in placements],
        "devices": [device for placement in placements for device in placement.devices],
        "hardware_class": attempt.hardware_class,
        "vendor": attempt.vendor,
        "model": attempt.model,
        "catalogue_version": shipped_catalogue().version,
        "item": item.value,
        "activity": spec.activity.value,
        "period_start": rfc3339(line.start),
        "period_end": rfc3339(line.end),
        "unit_seconds": line.unit_seconds,
        "card_seconds": line.unit_seconds if item is PricedItem.ACCELERATOR else 0,
        "list_price": format_cny(line.price.list_micros),
        "contracted_price": format_cny(line.price.contracted_micros),
        "price_version": line.price.version,
        "list_amount": format_cny(line.list_micros),
        "contracted_amount": format_cny(line.contracted_micros),
        "preempted_seconds": seconds if attempt.state == AttemptState.PREEMPTED else 0,
        "retried_seconds": seconds if attempt.number > 1 else 0,
        "gap_seconds": 0,
        "voucher_application": spec.voucher.application if spec.voucher else None,
        "eligibility": [tag.model_dump(mode="json") for tag in tags],
    }


def _carried(posting: _Posting, job_id: str) -> Carried:
    """What the job's posted lines leave over, from their sums."""
    if job_id not in posting.carried:
        row = CostRecordRow
        sums = posting.session.execute(
            select(
                row.list_price_micros,
                row.contracted_price_micros,
                func.sum(row.unit_seconds),
                func.sum(row.list_micros),
                func.sum(row.contracted_micros),
            )
            .where(row.job_id == job_id)
            .group_by(row.list_price_micros, row.contracted_price_micros)
        ).all()
        posting.carried[job_id] = carried_after(
            # multiplied here and not in SQL: the product of a large gang's sums may not fit a 64-bit integer
            sum(int(unit_seconds) * list_price for list_price, _, unit_seconds, _, _ in sums),
            sum(int(unit_seconds) * contracted_price for _, contracted_price, unit_seconds, _, _ in sums),
            sum(int(list_micros) for *_, list_micros, _ in sums),
            sum(int(contracted_micros) for *_, contracted_micros in sums),
        )
    return posting.carried[job_id]


def _consume(posting: _Posting, tenant: str, contract: Contract | None, line: Line, selected: Tag | None) -> None:
    """Count a posted line against its contract's amount and the selected programme's cap and pool.

    What only may be paid (`needs_review`) is counted too: it is reserved until the ledger decides.
    """
    registry = posting.registry
    if contract is not None:
        registry.contract_spent[contract.id] = registry.contract_spent.get(contract.id, 0) + line.contracted_micros
        use = posting.session.get(ContractUseRow, contract.id)
        if use is None:
            use = ContractUseRow(contract_id=contract.id, used_micros=0)
            posting.session.add(use)
        use.used_micros += line.contracted_micros
    if selected is None:
        return
    year, amount = claim_day(line.start).year, parse_cny(selected.capped)
    uses = registry.uses.setdefault((selected.programme, year), {})
    uses[tenant] = uses.get(tenant, 0) + amount
    row = posting.session.get(SubsidyUseRow, (selected.programme, year, tenant))
    if row is None:
        row = SubsidyUseRow(programme=selected.programme, year=year, tenant_id=tenant, used_micros=0)
        posting.session.add(row)
    row.used_micros += amount


def _policy_days(registry: Registry) -> list[datetime]:
    """Where the policy version that applies may change: no line crosses one."""
    first = {policy.valid_from for policy in registry.policies}
    past = {policy.valid_until + timedelta(days=1) for policy in registry.policies if policy.valid_until}
    return [datetime(day.year, day.month, day.day, tzinfo=CHINA) for day in first | past]
