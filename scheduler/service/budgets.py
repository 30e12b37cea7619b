"""Budgets and what is kept back of them: reserved at the grant, posted as it is charged, and the rest void at the end.

An attempt counts in the budgets of the day it was granted on (Asia/Shanghai), with all it costs, whenever that is. Whoever grants
or meters has confirmed the lead in the same transaction, so nobody else does either meanwhile.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from scheduler.billing.metering import MILLI, Holding
from scheduler.billing.reserve import reserve
from scheduler.contract.budget import BudgetSpec, BudgetView
from scheduler.contract.job import JobSpec
from scheduler.contract.registry import PricedItem
from scheduler.domain.money import format_cny, parse_cny
from scheduler.domain.reasons import Reason
from scheduler.engine.order import QueuedJob
from scheduler.service.registry import Registry
from scheduler.service.tags import claim_day
from scheduler.store.budget_tables import CommitmentRow, ReservationRow
from scheduler.store.tables import AttemptRow, JobRow

HELD = "waiting_for_budget"
"""The reason code of a job that is held for a budget."""

NO_CONTRACT = ""

AGAIN_EVERY = timedelta(seconds=60)
"""How long held jobs that would fit wait for those before them, which may wait for something else than the budget."""

_COMMIT = text(
    "INSERT INTO commitments (tenant_id, contract, day, posted_micros, reserved_micros) "
    "VALUES (:tenant, :contract, :day, :posted, :reserved) ON CONFLICT (tenant_id, contract, day) DO UPDATE SET "
    "posted_micros = commitments.posted_micros + excluded.posted_micros, "
    "reserved_micros = commitments.reserved_micros + excluded.reserved_micros"
)


@dataclass
class Commitments:
    """Changes to what is posted and reserved, by tenant, contract and day of grant, until they are written."""

    session: Session
    _granted: list[dict[str, object]] = field(default_factory=list)
    _posted: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _reserved: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def refusal(self, budgets: Iterable[BudgetSpec], attempt: AttemptRow, micros: int) -> Reason | None:
        """Why an attempt cannot be granted: the first of its budgets that what it may cost does not fit in."""
        bound = list(binding(in_force(budgets, claim_day(attempt.granted_at)), attempt.tenant_id, attempt.contract_id))
        if bound:
            self.close()  # what was granted before it counts
        for budget in bound:
            room = left(self.session, budget)
            if micros > room:
                return held_for(budget.name, micros, room)
        return None

    def reserve(self, attempt: AttemptRow, micros: int) -> None:
        """Keep back what an attempt that is granted may cost."""
        key = attempt.tenant_id, attempt.contract_id or NO_CONTRACT, claim_day(attempt.granted_at).isoformat()
        columns = ("tenant_id", "contract", "day", "attempt_id", "reserved_micros", "posted_micros")
        self._granted.append(dict(zip(columns, (*key, attempt.id, micros, 0), strict=True)))
        self._reserved[key] += micros

    def post(self, row: ReservationRow, charged_micros: int, still_to_come: int | None) -> None:
        """An attempt was charged, or had something taken back. `still_to_come`: what it may still cost; None at its end, when what
        is left of its reservation is void. Where a price was raised since the grant, what is kept back is raised with it."""
        before = _remaining(row)
        row.posted_micros += charged_micros
        row.reserved_micros = max(row.reserved_micros, row.posted_micros + (still_to_come or 0))
        row.voided_micros = row.reserved_micros - row.posted_micros if still_to_come is None else None
        self._posted[_key(row)] += charged_micros
        self._reserved[_key(row)] += _remaining(row) - before

    def close(self) -> None:
        """Write what has changed."""
        self.session.flush()
        if self._granted:
            self.session.execute(insert(ReservationRow), self._granted)
        keys = sorted(self._posted.keys() | self._reserved.keys())
        rows = [
            {"tenant": key[0], "contract": key[1], "day": key[2], "posted": self._posted[key], "reserved": self._reserved[key]}
            for key in keys
        ]
        if rows:
            self.session.execute(_COMMIT, rows)
        self._granted.clear()
        self._posted.clear()
        self._reserved.clear()


def reservations(session: Session, attempts: Collection[str]) -> Mapping[str, ReservationRow]:
    """What is kept back for some attempts. None for those granted before there were reservations."""
    return {row.attempt_id: row for row in session.scalars(select(ReservationRow).where(ReservationRow.attempt_id.in_(attempts)))}


def in_force(budgets: Iterable[BudgetSpec], day: date) -> list[BudgetSpec]:
    return [budget for budget in budgets if budget.start <= day <= budget.end]


def binding(budgets: Iterable[BudgetSpec], tenant: str, contract: str | None) -> Iterator[BudgetSpec]:
    """Those of some budgets that a job of a tenant counts in when it falls under a contract."""
    return (each for each in budgets if each.tenant == tenant and each.contract in (None, contract))


def used(session: Session, budget: BudgetSpec) -> tuple[int, int]:
    """What is posted and what is reserved in a budget, micro-CNY."""
    row = CommitmentRow
    sums = select(func.coalesce(func.sum(row.posted_micros), 0), func.coalesce(func.sum(row.reserved_micros), 0)).where(
        row.tenant_id == budget.tenant, row.day.between(budget.start.isoformat(), budget.end.isoformat())
    )
    if budget.contract is not None:
        sums = sums.where(row.contract == budget.contract)
    posted, reserved = session.execute(sums).one()
    return int(posted), int(reserved)


def left(session: Session, budget: BudgetSpec) -> int:
    """What is neither posted nor reserved of a budget, micro-CNY."""
    return parse_cny(budget.amount) - sum(used(session, budget))


def budget_view(session: Session, budget: BudgetSpec) -> BudgetView:
    posted, reserved = used(session, budget)
    amounts = {"posted": posted, "reserved": reserved, "left": parse_cny(budget.amount) - posted - reserved}
    return BudgetView(**budget.model_dump(), **{name: format_cny(micros) for name, micros in amounts.items()})


def held_for(budget: str, asked_micros: int, left_micros: int) -> Reason:
    return Reason("waiting_for_budget", {"budget": budget, "asked": format_cny(asked_micros), "left": format_cny(left_micros)})


@dataclass(frozen=True, slots=True)
class Ask:
    """What a waiting job needs at least, micro-CNY, of which budgets; whoever comes first in `place` has it first."""

    micros: int
    budgets: tuple[str, ...]
    place: tuple[int, int, str]

    def hold(self, room: Mapping[str, int]) -> Reason | None:
        """Why it is held, where it does not fit; a budget that is no longer in force holds nobody."""
        short = (name for name in self.budgets if name in room and self.micros > room[name])
        return next((held_for(name, self.micros, room[name]) for name in short), None)


class BudgetWatch:
    """What is left of the budgets, and which jobs are held for it, as one who schedules keeps it.

    A job that cannot fit wherever it goes is not offered to the engine, so that nobody makes room for it in vain. One that was
    refused for the place it was granted is held until as much is left as it needed there.
    """

    def __init__(self) -> None:
        self.room: dict[str, int] = {}
        self._rest: dict[str, int] = {}
        """What is left once those have started that were let go since then."""
        self._free: dict[str, int] = {}
        """Those, with what they need: they may be looked at again and are not held meanwhile, unless they turn out to need more."""
        self._looked_at: datetime | None = None
        self._asks: dict[str, Ask] = {}
        self._least: dict[Hashable, int] = {}

    def look(self, session: Session, registry: Registry, now: datetime) -> set[str]:
        """See what is left now. Returns the held jobs to look at again: as many as fit in it together, in order, each time that it
        has changed, and once in a while the next ones, in case that those before them wait for something else."""
        room = {budget.name: left(session, budget) for budget in in_force(registry.budgets, claim_day(now))}
        if room == self.room and self._looked_at is not None and now - self._looked_at < AGAIN_EVERY:
            return set()
        self.room, self._rest, self._looked_at = room, dict(room), now
        self._least.clear()
        self._free.clear()
        for job, wish in sorted(self._asks.items(), key=lambda each: each[1].place):
            self._take(job, wish)
        return set(self._free)

    def hold(self, registry: Registry, row: JobRow, spec: JobSpec, job: QueuedJob, now: datetime) -> Reason | None:
        """Why a job that waits is held for a budget, if it is."""
        wish = self._ask(registry, row, spec, job, now) if self.room else None
        if wish is None or self._free.get(row.id, -1) >= wish.micros:
            return None
        reason = self._take(row.id, wish)
        if reason is not None:
            self._asks[row.id] = wish
        return reason

    def forget(self, job: str) -> None:
        """A job waits for no budget any more."""
        self._asks.pop(job, None)

    def _take(self, job: str, wish: Ask) -> Reason | None:
        """Let a job draw on what those before it leave. Why it is held, if it does not fit."""
        reason = wish.hold(self._rest)
        if reason is None:
            self._free[job] = wish.micros
            self._rest.update((name, self._rest[name] - wish.micros) for name in wish.budgets if name in self._rest)
        return reason

    def _ask(self, registry: Registry, row: JobRow, spec: JobSpec, job: QueuedJob, now: datetime) -> Ask | None:
        """None where no budget binds it. Under which contract it falls, where it names none, is only known with its place."""
        names = [each.name for each in binding(in_force(registry.budgets, claim_day(now)), row.tenant_id, spec.contract)]
        stored = row.reasons[0] if row.reasons else {}
        refused = stored["numbers"] if stored.get("code") == HELD else None
        if refused is not None and refused["budget"] not in names:
            names.append(str(refused["budget"]))
        if not names:
            return None
        alike = (job.terms, job.shapes, job.clusters, job.max_runtime_seconds)
        if alike not in self._least:
            self._least[alike] = _least(registry, row.tenant_id, spec, job.clusters, now)
        micros = max(self._least[alike], parse_cny(str(refused["asked"])) if refused is not None else 0)
        return Ask(micros, tuple(names), (-job.priority, job.submitted_at, job.id))


def _least(registry: Registry, tenant: str, spec: JobSpec, clusters: Collection[str] | None, now: datetime) -> int:
    """What is kept back for a job at least, wherever it goes: for its cards or cores at the cheapest place there is.

    Instances of MIG count as nothing: how much of a card they are depends on the card.
    """
    costs = []
    for wish in spec.alternatives:
        units = 0 if wish.mig else (wish.min_nodes or wish.nodes) * (wish.per_node or wish.cpus)
        item = PricedItem.ACCELERATOR if wish.per_node else PricedItem.CPU
        for sku in registry.book.skus():
            cluster, priced, model = sku
            possible = priced is item and (not wish.models or not wish.per_node or model in wish.models)
            if possible and (clusters is None or cluster in clusters):
                provider = registry.clusters[cluster].provider
                contract = registry.contract_for(tenant, provider, spec.contract, claim_day(now))
                buyer = registry.entitlement(tenant, provider, contract)
                costs.append(reserve([Holding(sku, units * MILLI)], spec.max_runtime_seconds, now, registry.book, buyer))
    return min(costs, default=0)


def _key(row: ReservationRow) -> tuple[str, str, str]:
    return row.tenant_id, row.contract, row.day


def _remaining(row: ReservationRow) -> int:
    return row.reserved_micros - row.posted_micros if row.voided_micros is None else 0
