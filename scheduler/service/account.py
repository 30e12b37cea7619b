"""An attempt's account in the journal: what its records say, how one is taken back, and what takes its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy import select

from scheduler.billing.metering import MILLI, Carried, Holding, Line, holdings, split, unit_seconds_between, whole_seconds
from scheduler.billing.months import month_starts
from scheduler.billing.tiers import Entitlement
from scheduler.billing.timeline import Span, Unbilled, seconds_within
from scheduler.contract.cost import RecordKind, Tag
from scheduler.contract.job import JobSpec
from scheduler.contract.registry import Contract, Launcher, PricedItem
from scheduler.contract.sync import Placement
from scheduler.domain.clock import rfc3339
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import charge_up_to, format_cny, parse_cny
from scheduler.domain.states import AttemptState
from scheduler.service.journal import Body, Context, Journal
from scheduler.service.tags import Charge, Terms, context_of, tags_for
from scheduler.store.tables import AttemptRow, CostContextRow, CostRecordRow, JobRow

Record = Mapping[str, Any]
"""A posted record as JSON."""

_PLACED = ("id", "sequence", "previous_hash", "posted_at", "context", "eligibility", "voucher_programme", "voucher_estimate")
"""What posting puts beside a body."""

_COUNTS = ("unit_seconds", "card_seconds", "preempted_seconds", "retried_seconds", "gap_seconds")
_PRICES = ("list_price", "contracted_price")
_AMOUNTS = ("list_amount", "contracted_amount")


@dataclass
class Account:
    """An attempt and the journal its records go to. `silences` are the times in which nobody reported it, `charged_micros` is what
    has been posted here."""

    journal: Journal
    attempt: AttemptRow
    silences: Sequence[Span] = ()
    charged_micros: int = 0

    @cached_property
    def job(self) -> JobRow:
        return self.journal.session.get_one(JobRow, self.attempt.job_id)

    @cached_property
    def spec(self) -> JobSpec:
        return JobSpec.model_validate(self.job.spec)

    @cached_property
    def provider(self) -> str:
        return self.journal.registry.clusters[self.attempt.cluster_id].provider

    @cached_property
    def contract(self) -> Contract | None:
        return self.journal.registry.contracts.get(self.attempt.contract_id or "")

    @cached_property
    def held(self) -> list[Holding]:
        return held_by(self.attempt)

    def holding(self, item: str) -> Holding:
        """What it holds of an item. Raises StopIteration for one it has nothing of."""
        return next(each for each in self.held if each.sku[1] == item)

    @property
    def carried(self) -> Carried:
        """The rest its job's lines have left; where records were taken back among those of others, it may be none."""
        sums = self.journal.sums(self.job.id, self.job.tenant_id)
        return Carried(max(0, sums.list_carried), max(0, sums.contracted_carried))

    @cached_property
    def buyer(self) -> Entitlement:
        """At which price tiers its tenant buys."""
        return self.journal.registry.entitlement(self.job.tenant_id, self.provider, self.contract)

    def units(self, holding: Holding, start: datetime, end: datetime) -> int:
        """Whole unit-seconds of something it holds, from its grant on."""
        return unit_seconds_between(holding.unit_milli, self.attempt.held_from, start, end)

    def charge(self, holding: Holding, line: Line) -> None:
        """Post a line."""
        body = {
            **self._body(RecordKind.USAGE, holding.sku[1], line.start, line.end, line.unit_seconds),
            "list_price": line.price.list_micros,
            "contracted_price": line.price.contracted_micros,
            "price_version": line.price.version,
            "price_tier": line.price.tier.value,
            "price_reasons": [reason.code for reason in line.price.reasons()],
            "list_amount": line.list_micros,
            "contracted_amount": line.contracted_micros,
        }
        self._tag_and_post(body, line.start, line.end, line.contracted_micros)

    def leave_free(self, holding: Holding, span: Span, why: Unbilled, replaces: Record | None = None) -> None:
        """Post that time is held and not charged, in each month for itself; nothing for less than a unit-second."""
        for start, end in split(*span, month_starts(*span)):
            units = self.units(holding, start, end)
            if units > 0:
                body = {
                    **self._body(RecordKind.UNBILLED, holding.sku[1], start, end, units),
                    "reason": why.reason().code,
                    "replaces": replaces["id"] if replaces else None,
                }
                self.journal.post(body, [], self._context)

    def leave_main_free(self, span: Span, why: Unbilled) -> None:
        """The same for what the attempt is for: what lies beside it has no record of free time."""
        for holding in self.held[:1]:
            self.leave_free(holding, span, why)

    def posted(self) -> list[Record]:
        """Its lines that stand: charged and not taken back."""
        named = CostRecordRow.payload.contains(f'"attempt":"{self.attempt.id}"', autoescape=True)
        mine = select(CostRecordRow.payload).where(CostRecordRow.job_id == self.attempt.job_id, named)
        records = [orjson.loads(payload) for payload in self.journal.session.scalars(mine.order_by(CostRecordRow.sequence))]
        reversed_ = {record["reverses"] for record in records}
        return [record for record in records if record["kind"] == RecordKind.USAGE and record["id"] not in reversed_]

    def take_back(self, record: Record) -> None:
        """Post the reversal of a line: every number of it negated, its tags among them, so that all that counted it has it back."""
        body = {key: value for key, value in record.items() if key not in _PLACED}
        body |= {key: parse_cny(record[key]) for key in (*_PRICES, *_AMOUNTS)} | {key: -record[key] for key in _COUNTS}
        body |= {key: -body[key] for key in _AMOUNTS}
        body |= {"kind": RecordKind.REVERSAL.value, "reverses": record["id"], "replaces": None}
        tags = [_negated_tag(Tag.model_validate(tag)) for tag in record["eligibility"]]
        decided_by = self.journal.session.get_one(CostContextRow, record["context"])
        self.charged_micros += body["contracted_amount"]
        self.journal.post(body, tags, Context(decided_by.sha256, decided_by.body))

    def charge_again(self, record: Record, until: datetime) -> None:
        """Post what stays due of a line that was taken back: its time before `until`, at its price."""
        start = datetime.fromisoformat(record["period_start"])
        holding = self.holding(record["item"])
        units, carried = self.units(holding, start, until), self.carried
        if units == 0:
            return
        list_price, contracted_price = parse_cny(record["list_price"]), parse_cny(record["contracted_price"])
        contracted = charge_up_to(carried.contracted_part + units * contracted_price)
        body = {
            **self._body(RecordKind.USAGE, holding.sku[1], start, until, units),
            "list_price": list_price,
            "contracted_price": contracted_price,
            **{key: record.get(key) for key in ("price_version", "price_tier", "price_reasons")},
            "list_amount": charge_up_to(carried.list_part + units * list_price),
            "contracted_amount": contracted,
            "replaces": record["id"],
        }
        self._tag_and_post(body, start, until, contracted)

    def _tag_and_post(self, body: Body, start: datetime, end: datetime, contracted_micros: int) -> None:
        hardware_class = HardwareClass(self.attempt.hardware_class) if self.attempt.hardware_class else None
        charge = Charge(PricedItem(body["item"]), hardware_class, start, end, contracted_micros)
        tags = tags_for(self.journal.registry, self._terms, self.provider, self.contract, charge)
        self.charged_micros += contracted_micros
        self.journal.post(body, tags, self._context)

    @cached_property
    def _terms(self) -> Terms:
        return Terms.of(self.job.tenant_id, self.spec)

    @cached_property
    def _context(self) -> Context:
        return context_of(self.journal.registry, self._terms, self.provider, self.contract)

    def _body(self, kind: RecordKind, item: PricedItem, start: datetime, end: datetime, units: int) -> Body:
        """A record of a stretch of the attempt, free of charge until a price is put to it."""
        attempt = self.attempt
        placements = [Placement.model_validate(placement) for placement in attempt.placements]
        seconds = whole_seconds(start, end)
        return {
            "kind": kind.value,
            "tenant": self.job.tenant_id,
            "provider": self.provider,
            "contract": self.contract.id if self.contract else None,
            "job": self.job.id,
            "attempt": attempt.id,
            "attempt_number": attempt.number,
            "cluster": attempt.cluster_id,
            "recorded": self.journal.registry.clusters[attempt.cluster_id].launcher is Launcher.RECORDED,
            "nodes": [placement.node for placement in placements],
            "devices": [device for placement in placements for device in placement.devices],
            "hardware_class": attempt.hardware_class,
            "vendor": attempt.vendor,
            "model": attempt.model,
            "catalogue_version": attempt.catalogue_version,
            "item": item.value,
            "activity": self.spec.activity.value,
            "period_start": rfc3339(start),
            "period_end": rfc3339(end),
            "unit_seconds": units,
            "card_seconds": units if item is PricedItem.ACCELERATOR else 0,
            "list_price": 0,
            "contracted_price": 0,
            "price_version": None,
            "price_tier": None,
            "price_reasons": [],
            "list_amount": 0,
            "contracted_amount": 0,
            "preempted_seconds": seconds if attempt.state == AttemptState.PREEMPTED else 0,
            "retried_seconds": seconds if attempt.tries > 1 else 0,
            "gap_seconds": seconds_within(self.silences, start, end),
            "reason": None,
            "reverses": None,
            "replaces": None,
            "voucher_application": self.spec.voucher.application if self.spec.voucher else None,
            "description": None,
            "evidence_sha256": None,
        }


def held_by(attempt: AttemptRow) -> list[Holding]:
    """What an attempt holds that may be charged; what it is for comes first."""
    core_milli, memory_milli = attempt.cores * MILLI, attempt.host_memory_gib * MILLI
    return holdings(attempt.cluster_id, attempt.model, attempt.card_milli, core_milli, memory_milli)


def _negated_tag(tag: Tag) -> Tag:
    """The tag taken back. What was left of each limit before it is said as it was."""
    amounts = ("base", "uncapped", "capped")
    return tag.model_copy(update={key: format_cny(-parse_cny(getattr(tag, key))) for key in amounts})
