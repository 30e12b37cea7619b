"""The ledger's own arithmetic: what every job's lines must add up to, checked from nothing but the records themselves."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from scheduler.billing.journal import Break, Head, Row, verify, verify_rows
from scheduler.contract.cost import RecordKind
from scheduler.domain.money import SECONDS_PER_HOUR, format_cny


@dataclass
class JobBooks:
    """One job's running sums: amounts in micro-CNY, and unit-seconds × price, which amounts must follow to one micro-CNY, and to
    one more for each record that was taken back: what takes its place begins a rounding of its own."""

    unit_seconds: int = 0
    card_seconds: int = 0
    list_micros: int = 0
    contracted_micros: int = 0
    voucher_micros: int = 0
    list_product: int = 0
    contracted_product: int = 0
    reversals: int = 0
    programme: str | None = None
    """The programme selected last."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record. Time that is not charged counts for nothing."""
        if record["kind"] == RecordKind.UNBILLED:
            return
        units, listed, contracted = record["unit_seconds"], micros(record["list_amount"]), micros(record["contracted_amount"])
        self.unit_seconds += units
        self.card_seconds += record["card_seconds"]
        self.list_micros += listed
        self.contracted_micros += contracted
        self.voucher_micros += sum(micros(tag["capped"]) for tag in record["eligibility"] if tag["selected"])
        self.reversals += record["kind"] == RecordKind.REVERSAL
        self.programme = record.get("voucher_programme") or self.programme
        bought = record["attempt"] is None  # beside the machines, or taken back of that: at an amount, which leaves no rest
        self.list_product += listed * SECONDS_PER_HOUR if bought else units * micros(record["list_price"])
        self.contracted_product += contracted * SECONDS_PER_HOUR if bought else units * micros(record["contracted_price"])

    def plus(self, later: "JobBooks") -> None:
        """Count what was added up elsewhere of later records."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.programme = later.programme or self.programme

    @property
    def list_carried(self) -> int:
        return self.list_product - self.list_micros * SECONDS_PER_HOUR

    @property
    def contracted_carried(self) -> int:
        return self.contracted_product - self.contracted_micros * SECONDS_PER_HOUR

    def adds_up(self) -> bool:
        """Whether the sum of lines is unit-seconds × price to 10⁻⁶ CNY, for what is published and for what is paid."""
        return _is_rest(self.list_carried, self.reversals) and _is_rest(self.contracted_carried, self.reversals)


_COUNTED = tuple(field.name for field in fields(JobBooks) if field.name != "programme")


@dataclass
class Books:
    """A ledger's picture of the feed: the head it has verified, and the sums of every job."""

    head: Head = field(default_factory=Head)
    jobs: dict[str, JobBooks] = field(default_factory=lambda: defaultdict(JobBooks))
    """By job; what belongs to none is under the empty name."""
    first_break: Break | None = None

    def take(self, record: Mapping[str, Any]) -> bool:
        """Verify one record against the head and add it up. False from the first broken record on."""
        if self.first_break is None:
            self.head, self.first_break = verify(self.head, [record])
        if self.first_break is not None:
            return False
        self.jobs[record["job"] or ""].add(record)
        return True

    def take_rows(self, rows: Sequence[Row]) -> bool:
        """Verify stored rows against the head and add them up. False if one of them is broken; those before it are taken."""
        if self.first_break is None:
            before = self.head.sequence
            self.head, self.first_break = verify_rows(self.head, rows)
            for row in rows[: self.head.sequence - before]:
                record = orjson.loads(row.payload)
                self.jobs[record["job"] or ""].add(record)
        return self.first_break is None

    def end(self, head: Head) -> None:
        """The feed says that it ends at `head`: whatever lies between there and the last record taken is missing."""
        if self.first_break is None and self.head != head:
            what = f"the chain should end at sequence {head.sequence} and ends at {self.head.sequence}"
            self.first_break = Break(self.head.sequence + 1, "", what)

    def identities(self) -> dict[str, bool]:
        """What must hold over everything taken so far, by name."""
        return {
            "chain_unbroken": self.first_break is None,
            "lines_equal_seconds_times_price": all(books.adds_up() for books in self.jobs.values()),
            "voucher_within_cost": all(books.voucher_micros <= books.contracted_micros for books in self.jobs.values()),
        }

    def total(self) -> str:
        """Everything charged, CNY."""
        return format_cny(sum(books.contracted_micros for books in self.jobs.values()))


def micros(amount: str) -> int:
    """Micro-CNY of an amount as a record has it, always with six places."""
    return int(amount.replace(".", ""))


def _is_rest(rest: int, reversals: int) -> bool:
    return -reversals * SECONDS_PER_HOUR <= rest < (1 + reversals) * SECONDS_PER_HOUR
