"""What records add up to, held against every row that claims to be a sum of them. Pure, and in parts: a part of the feed is added
up wherever it is read, and the parts are put together in order."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from scheduler.billing.journal import Break
from scheduler.billing.reconcile import JobBooks, micros
from scheduler.contract.cost import RecordKind
from scheduler.domain.clock import CHINA

Claim = tuple[str, int, str]
"""(programme, claim year, tenant)."""

ContractClaim = tuple[str, str]
"""(contract, programme)."""

Commitment = tuple[str, str, str]
"""(tenant, contract or nothing, day of grant)."""

BILLED = "billed"
"""What became of time that is charged, beside the reasons why other time is not."""

Key = TypeVar("Key", bound=Hashable)


class Held(NamedTuple):
    """Something that an attempt holds: an item of a cluster, for a tenant's job."""

    attempt: str
    job: str
    tenant: str
    cluster: str
    item: str


class Reserved(NamedTuple):
    """What is kept back for an attempt, and where it counts, micro-CNY."""

    counts_in: Commitment
    reserved: int
    posted: int
    voided: int | None


@dataclass
class Sums:
    """What a part of the feed adds up to, micro-CNY and unit-seconds."""

    jobs: dict[str, JobBooks] = field(default_factory=dict)
    contracts: dict[str, int] = field(default_factory=dict)
    claims: dict[Claim, int] = field(default_factory=dict)
    contract_claims: dict[ContractClaim, int] = field(default_factory=dict)
    time: dict[Held, dict[str, int]] = field(default_factory=dict)
    """What became of the time of attempts: `BILLED`, or why it is free."""
    facts: set[str] = field(default_factory=set)
    """The SHA-256 of everything that decided tags."""
    charged: dict[str, int] = field(default_factory=dict)
    """Micro-CNY by attempt."""
    contracted_micros: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record."""
        self.contracted_micros += micros(record["contracted_amount"])
        if record["job"] is not None:
            self.jobs.setdefault(record["job"], JobBooks()).add(record)
        if record["contract"] is not None:
            _count(self.contracts, record["contract"], micros(record["contracted_amount"]))
        if record["voucher_programme"] is not None:
            year = datetime.fromisoformat(record["period_start"]).astimezone(CHINA).year
            _count(self.claims, (record["voucher_programme"], year, record["tenant"]), micros(record["voucher_estimate"]))
            if record["contract"] is not None:
                claim = record["contract"], record["voucher_programme"]
                _count(self.contract_claims, claim, micros(record["voucher_estimate"]))
        if record["attempt"] is not None:
            held = Held(record["attempt"], record["job"], record["tenant"], record["cluster"], record["item"])
            free = record["reason"] if record["kind"] == RecordKind.UNBILLED else BILLED
            _count(self.time.setdefault(held, {}), free, record["unit_seconds"])
            _count(self.charged, record["attempt"], micros(record["contracted_amount"]))
        self.facts.add(record["context"])

    def plus(self, later: "Sums") -> None:
        """Count what a later part of the feed adds up to."""
        for job, books in later.jobs.items():
            self.jobs.setdefault(job, JobBooks()).plus(books)
        for contract, amount in later.contracts.items():
            _count(self.contracts, contract, amount)
        for claim, amount in later.claims.items():
            _count(self.claims, claim, amount)
        for claimed, amount in later.contract_claims.items():
            _count(self.contract_claims, claimed, amount)
        for held, parts in later.time.items():
            for free, units in parts.items():
                _count(self.time.setdefault(held, {}), free, units)
        for attempt, amount in later.charged.items():
            _count(self.charged, attempt, amount)
        self.facts |= later.facts
        self.contracted_micros += later.contracted_micros


@dataclass
class Settled:
    """What settlements change, computed from them and the records they are about: what was decided less what the records count for
    without it. `unlike` names settlements whose columns do not say what they said when they came."""

    claims: dict[Claim, int] = field(default_factory=dict)
    contract_claims: dict[ContractClaim, int] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)

    def count(self, claim: Claim, contract: str | None, amount: int) -> None:
        """Count what one settlement that holds changes."""
        _count(self.claims, claim, amount)
        if contract is not None:
            _count(self.contract_claims, (contract, claim[0]), amount)


@dataclass
class Stored:
    """What stands in the store at one moment, by the same keys.

    `jobs` are the columns of `job_costs`. `facts` says for each name whether the text under it hashes to it. `allocated` are the
    unit-seconds that attempts have held of what they are for, as far as they are accounted for; `astray` names ended attempts that
    are said to be accounted for and are not, to their end.
    """

    jobs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """The tenant of each job that has sums."""
    contracts: dict[str, int] = field(default_factory=dict)
    claims: dict[Claim, int] = field(default_factory=dict)
    contract_claims: dict[ContractClaim, int] = field(default_factory=dict)
    settled: Settled = field(default_factory=Settled)
    settlement_uses: dict[Claim, int] = field(default_factory=dict)
    facts: dict[str, bool] = field(default_factory=dict)
    allocated: dict[Held, int] = field(default_factory=dict)
    astray: list[str] = field(default_factory=list)
    reservations: dict[str, Reserved] = field(default_factory=dict)
    """By attempt."""
    due: dict[str, tuple[Commitment, bool]] = field(default_factory=dict)
    """By attempt: where it counts, and whether all of it is accounted for."""
    commitments: dict[Commitment, tuple[int, int]] = field(default_factory=dict)
    """Posted and reserved."""


def findings(sums: Sums, stored: Stored) -> dict[str, Break | None]:
    """Every identity beside the chain, by name, and for each the first row that breaks it."""
    return {
        "lines_equal_seconds_times_price": _first(_not_adding_up(sums)),
        "voucher_within_cost": _first(_vouchers_over_cost(sums)),
        "facts_kept": _first(_facts_lost(sums, stored)),
        "job_sums_equal_records": _first(_jobs_unequal(sums, stored)),
        "contract_sums_equal_records": _first(_unequal("contract_uses", stored.contracts, sums.contracts)),
        "claim_sums_equal_records": _first(_unequal("subsidy_uses", stored.claims, sums.claims)),
        "settlements_as_they_came": _first(
            Break(0, name, "settlements: a column is not what was said") for name in stored.settled.unlike
        ),
        "settled_sums_equal_settlements": _first(_unequal("settlement_uses", stored.settlement_uses, stored.settled.claims)),
        "contract_claims_equal_records": _first(_contract_claims_unequal(sums, stored)),
        "reservations_equal_records": _first(_reservations_unequal(sums, stored)),
        "commitments_equal_reservations": _first(_commitments_unequal(stored)),
        "attempt_seconds_conserved": _first(_not_conserved("attempt", sums, stored)),
        "job_seconds_conserved": _first(_not_conserved("job", sums, stored)),
        "tenant_seconds_conserved": _first(_not_conserved("tenant", sums, stored)),
        "cluster_seconds_conserved": _first(_not_conserved("cluster", sums, stored)),
        "ended_attempts_accounted_for": _first(
            Break(0, attempt, "said to be accounted for to its end, and is not") for attempt in sorted(stored.astray)
        ),
    }


def _first(breaks: Iterable[Break]) -> Break | None:
    return next(iter(breaks), None)


def _not_adding_up(sums: Sums) -> Iterator[Break]:
    for job, books in sorted(sums.jobs.items()):
        if not books.adds_up():
            yield Break(0, job, "its lines do not add up to seconds × price")


def _vouchers_over_cost(sums: Sums) -> Iterator[Break]:
    for job, books in sorted(sums.jobs.items()):
        if books.voucher_micros > books.contracted_micros:
            yield Break(0, job, f"vouchers of {books.voucher_micros} on a cost of {books.contracted_micros}")


def _facts_lost(sums: Sums, stored: Stored) -> Iterator[Break]:
    for name in sorted(sums.facts | stored.facts.keys()):
        if name not in stored.facts:
            yield Break(0, name, "cost_contexts: a record names these facts, and they are not there")
        elif not stored.facts[name]:
            yield Break(0, name, "cost_contexts: the text does not hash to its name")
        elif name not in sums.facts:
            yield Break(0, name, "cost_contexts: no record names these facts")


def _jobs_unequal(sums: Sums, stored: Stored) -> Iterator[Break]:
    for job in sorted(sums.jobs.keys() | stored.jobs.keys()):
        books = sums.jobs.get(job, JobBooks())
        for column, found in stored.jobs.get(job, {}).items():
            due = stored.owners.get(job) if column == "tenant_id" else getattr(books, column)
            if found != due:
                yield Break(0, job, f"job_costs: {column} is {found}, its records say {due}")
        if job not in stored.jobs and books != JobBooks():
            yield Break(0, job, "job_costs: its records have no sum")


def _unequal(table: str, stored: Mapping[Key, int], summed: Mapping[Key, int]) -> Iterator[Break]:
    for key in sorted(stored.keys() | summed.keys(), key=str):
        found, due = stored.get(key, 0), summed.get(key, 0)
        if found != due:
            yield Break(0, _told(key), f"{table}: {found} is counted, its records say {due}")


def _contract_claims_unequal(sums: Sums, stored: Stored) -> Iterator[Break]:
    due = dict(sums.contract_claims)
    for claim, amount in stored.settled.contract_claims.items():
        _count(due, claim, amount)
    yield from _unequal("claim_uses", stored.contract_claims, due)


def _reservations_unequal(sums: Sums, stored: Stored) -> Iterator[Break]:
    """reserved = posted + void at the end of an attempt, and what is posted are its records."""
    for attempt, row in sorted(stored.reservations.items()):
        charged, (counts_in, over) = sums.charged.get(attempt, 0), stored.due.get(attempt, (None, False))
        if row.posted != charged:
            yield Break(0, attempt, f"reservations: {row.posted} is posted, its records say {charged}")
        elif row.counts_in != counts_in:
            yield Break(0, attempt, f"reservations: it counts in {_told(row.counts_in)}, its attempt says {_told(counts_in)}")
        elif over != (row.voided is not None) or (row.voided is not None and row.reserved != row.posted + row.voided):
            yield Break(0, attempt, f"reservations: {row.reserved} was reserved, {row.posted} is posted and {row.voided} is void")


def _commitments_unequal(stored: Stored) -> Iterator[Break]:
    posted: dict[Commitment, int] = {}
    reserved: dict[Commitment, int] = {}
    for row in stored.reservations.values():
        _count(posted, row.counts_in, row.posted)
        _count(reserved, row.counts_in, row.reserved - row.posted if row.voided is None else 0)
    for key in sorted(posted.keys() | stored.commitments.keys()):
        found, due = stored.commitments.get(key, (0, 0)), (posted.get(key, 0), reserved.get(key, 0))
        if found != due:
            told = "commitments: {} posted and {} reserved are counted, the reservations say {} and {}"
            yield Break(0, _told(key), told.format(*found, *due))


def _not_conserved(of: str, sums: Sums, stored: Stored) -> Iterator[Break]:
    """allocated = billed + unbilled by reason, of what attempts are for; time held before the start is idle, and free as such."""
    allocated: defaultdict[tuple[str, str], int] = defaultdict(int)
    parts: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    main = {(held.attempt, held.item) for held in stored.allocated}
    attempts = {held.attempt for held in stored.allocated}
    for held, units in stored.allocated.items():
        allocated[getattr(held, of), held.item] += units
    for held, became in sums.time.items():
        if (held.attempt, held.item) in main or held.attempt not in attempts:
            for free, units in became.items():
                _count(parts[getattr(held, of), held.item], free, units)
    for key in sorted(allocated.keys() | parts.keys()):
        became = {free: units for free, units in sorted(parts[key].items()) if units}
        if allocated[key] != sum(became.values()):
            told = " + ".join(f"{units} {free}" for free, units in became.items()) or "nothing"
            yield Break(0, key[0], f"{allocated[key]} {key[1]}-seconds were held by this {of}, and accounted for are {told}")


def _told(key: object) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _count(counts: dict[Key, int], key: Key, by: int) -> None:
    counts[key] = counts.get(key, 0) + by
