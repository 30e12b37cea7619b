"""The ledger's own arithmetic: what every job's lines must add up to, checked from nothing but the records themselves."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from scheduler.billing.journal import Break, Head, Row, verify, verify_rows
from scheduler.contract.cost import RecordKind
from scheduler.domain.money import SECONDS_PER_HOUR, format_cny, parse_cny


@dataclass
class JobBooks:
    """One job's running sums: amounts in micro-CNY, and unit-seconds × price, which amounts must follow to one micro-CNY, and to
    one more for each record that was taken back: what takes its place begins a rounding of its own."""

    card_seconds: int = 0
    list_micros: int = 0
    contracted_micros: int = 0
    voucher_micros: int = 0
    list_product: int = 0
    contracted_product: int = 0
    reversals: int = 0

    def adds_up(self) -> bool:
        """Whether the sum of lines is unit-seconds × price to 10⁻⁶ CNY, for what is published and for what is paid."""
        listed = _follows(self.list_micros, self.list_product, self.reversals)
        return listed and _follows(self.contracted_micros, self.contracted_product, self.reversals)


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
        self._add(record)
        return True

    def take_rows(self, rows: Sequence[Row]) -> bool:
        """Verify stored rows against the head and add them up. False if one of them is broken; those before it are taken."""
        if self.first_break is None:
            before = self.head.sequence
            self.head, self.first_break = verify_rows(self.head, rows)
            for row in rows[: self.head.sequence - before]:
                self._add(orjson.loads(row.payload))
        return self.first_break is None

    def end(self, head: Head) -> None:
        """The feed says that it ends at `head`: whatever lies between there and the last record taken is missing."""
        if self.first_break is None and self.head != head:
            what = f"the chain should end at sequence {head.sequence} and ends at {self.head.sequence}"
            self.first_break = Break(self.head.sequence + 1, "", what)

    def _add(self, record: Mapping[str, Any]) -> None:
        books = self.jobs[record["job"] or ""]
        books.card_seconds += record["card_seconds"]
        books.list_micros += parse_cny(record["list_amount"])
        books.contracted_micros += parse_cny(record["contracted_amount"])
        books.voucher_micros += sum(parse_cny(tag["capped"]) for tag in record["eligibility"] if tag["selected"])
        books.reversals += record["kind"] == RecordKind.REVERSAL
        books.list_product += _product(record, "list")
        books.contracted_product += _product(record, "contracted")

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


def _product(record: Mapping[str, Any], column: str) -> int:
    """Unit-seconds × price of a record, micro-CNY × seconds. What was bought beside the machines, or is taken back of that, has
    neither: its amount is worth as much."""
    if record["attempt"] is None:
        return parse_cny(record[f"{column}_amount"]) * SECONDS_PER_HOUR
    units: int = record["unit_seconds"]
    return units * parse_cny(record[f"{column}_price"])


def _follows(micros: int, product: int, reversals: int) -> bool:
    rest = product - micros * SECONDS_PER_HOUR
    return -reversals * SECONDS_PER_HOUR <= rest < (1 + reversals) * SECONDS_PER_HOUR
