"""Who takes part, as one immutable picture for a round: providers, clusters, tenants, contracts, prices, programmes, cap use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from scheduler.billing.pricebook import PriceBook
from scheduler.billing.tiers import Entitlement, entitlement
from scheduler.contract.budget import BudgetSpec
from scheduler.contract.job import JobSpec, Profile
from scheduler.contract.registry import Cluster, Contract, Provider, QueueSpec, Tenant
from scheduler.contract.scheduling import SchedulingPolicy
from scheduler.domain.clock import parse_duration_seconds
from scheduler.domain.money import parse_cny
from scheduler.engine.quota import Queue
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.service.links import Links, load_links
from scheduler.service.prices import price_point
from scheduler.service.uses import load_claims, load_uses
from scheduler.store.budget_tables import BudgetRow
from scheduler.store.tables import (
    ClusterRow,
    ContractRow,
    ContractUseRow,
    LinkRow,
    PriceRow,
    ProgrammeRow,
    ProviderRow,
    QueueRow,
    SchedulingPolicyRow,
    TenantRow,
)
from scheduler.subsidy.facts import Applicant, ContractFacts, Facts, ProviderFacts, Used
from scheduler.subsidy.programme import PolicyVersion, parse_policy
from scheduler.subsidy.tagging import Allowance, claim_limit


@dataclass(frozen=True)
class Registry:
    """Everything registered. `uses` is micro-CNY by (programme, claim year) and tenant; `contract_spent` by contract; `claims` by
    contract and programme.

    Those three are dictionaries because the meter counts the lines it posts into them as it goes.
    """

    providers: Mapping[str, Provider]
    clusters: Mapping[str, Cluster]
    heard_at: Mapping[str, datetime | None]
    tenants: Mapping[str, Tenant]
    contracts: Mapping[str, Contract]
    book: PriceBook
    policies: tuple[PolicyVersion, ...]
    queues: tuple[Queue, ...]
    scheduling: SchedulingPolicy
    profiles: Mapping[str, Profile]
    """By queue: how its jobs choose that do not say; a queue that is not there leaves that to the city."""
    links: Links
    budgets: tuple[BudgetSpec, ...]
    uses: dict[tuple[str, int], dict[str, int]]
    contract_spent: dict[str, int]
    claims: dict[str, dict[str, int]]

    def profile_of(self, tenant: str, spec: JobSpec) -> Profile:
        """How a tenant's job chooses among places: as it says, as its queue does, as the city does."""
        return spec.profile or self.profiles.get(tenant, self.scheduling.profile)

    def min_runtime_seconds(self, queue: str) -> int:
        """How long an attempt of a queue is left alone: as it says, or the first above it that does, or else the city."""
        by_name = self._queues_by_name
        while (declared := by_name.get(queue)) is not None:
            if declared.min_runtime_seconds is not None:
                return declared.min_runtime_seconds
            queue = declared.parent or ""
        return parse_duration_seconds(self.scheduling.min_runtime)

    @cached_property
    def _queues_by_name(self) -> Mapping[str, Queue]:
        return {queue.name: queue for queue in self.queues}

    def contract_for(self, tenant: str, provider: str, named: str | None, day: date) -> Contract | None:
        """The contract a job's cost falls under: the one it names if that is with the provider, else the tenant's with the
        provider that is in force on the day and ends first. None if there is none."""
        if named is not None:
            contract = self.contracts.get(named)
            return contract if contract is not None and contract.provider == provider else None
        in_force = [
            contract
            for contract in self.contracts.values()
            if contract.tenant == tenant and contract.provider == provider and contract.start <= day <= contract.end
        ]
        return min(in_force, key=lambda contract: (contract.end, contract.id), default=None)

    def entitlement(self, tenant: str, provider: str, contract: Contract | None) -> Entitlement:
        """At which price tiers a tenant buys from a provider."""
        return entitlement(self.tenants[tenant], self.providers[provider], contract)

    def claiming(self, contract: Contract | None) -> frozenset[str]:
        """The programmes under which posted lines claim money for a contract."""
        claims = self.claims.get(contract.id, {}) if contract else {}
        return frozenset(programme for programme, micros in claims.items() if micros)

    def facts(self, tenant: str, provider: str, contract: Contract | None) -> Facts:
        """What is known around a spend of a tenant with a provider. The year's use is not among it: see `allowance`."""
        seller = self.providers[provider]
        return Facts(
            applicant=_applicant(self.tenants[tenant]),
            provider=ProviderFacts(
                uscc=seller.uscc,
                city=seller.city,
                affiliated=contract.affiliated if contract else None,
                capacity_pflops=seller.capacity_pflops,
                facility_domestic=seller.facility_domestic,
                registrations=tuple(seller.registrations),
            ),
            contract=_contract_facts(contract) if contract else ContractFacts(),
            used=Used(applicant_year=0, pool_year=0, claims_on_contract=0),
        )

    def allowance(self, policy: PolicyVersion, facts: Facts, tenant: str, contract: Contract | None, year: int) -> Allowance:
        """What posted lines have left of the contract's amount, of what is paid on it at most, of the applicant's cap and the pool.

        All that is claimed of one contract under one programme is one claim.
        """
        uses = self.uses.get((policy.programme, year), {})
        claim, claimed = claim_limit(policy, facts)[0], self.claims.get(contract.id, {}) if contract else {}
        return Allowance(
            claim=None if claim is None else max(0, claim - claimed.get(policy.programme, 0)),
            contract=max(0, parse_cny(contract.amount) - self.contract_spent.get(contract.id, 0)) if contract else None,
            cap=max(0, policy.cap.amount - uses.get(tenant, 0)) if policy.cap else None,
            pool=max(0, policy.pool.amount - sum(uses.values())) if policy.pool else None,
        )


class Version(NamedTuple):
    """How many rows there are of each part of the registry. They are only ever added, so equal versions are equal registries,
    but for who was heard when and what has been used."""

    clusters: int
    providers: int
    tenants: int
    contracts: int
    prices: int
    programmes: int
    queues: int
    scheduling: int
    links: int
    budgets: int


def registry_version(session: Session) -> Version:
    registered = (ClusterRow, ProviderRow, TenantRow, ContractRow, PriceRow, ProgrammeRow)
    tables = (*registered, QueueRow, SchedulingPolicyRow, LinkRow, BudgetRow)
    counts = (select(func.count()).select_from(table).scalar_subquery() for table in tables)
    return Version(*session.execute(select(*counts)).one())


def refreshed(session: Session, registry: Registry) -> Registry:
    """A registry of the same version, with who was heard when and what has been used as they are now."""
    return replace(
        registry,
        heard_at={row.id: row.heard_at for row in session.execute(select(ClusterRow.id, ClusterRow.heard_at))},
        uses=load_uses(session),
        contract_spent=_contract_spent(session),
        claims=load_claims(session),
    )


def load_registry(session: Session) -> Registry:
    """The registry as it is in the session's transaction."""
    clusters, queues = session.scalars(select(ClusterRow)).all(), declared_queues(session)
    return Registry(
        providers={row.id: Provider.model_validate(row.body) for row in session.scalars(select(ProviderRow))},
        clusters={row.id: Cluster.model_validate(row.body) for row in clusters},
        heard_at={row.id: row.heard_at for row in clusters},
        tenants={row.id: Tenant.model_validate(row.body) for row in session.scalars(select(TenantRow))},
        contracts={row.id: Contract.model_validate(row.body) for row in session.scalars(select(ContractRow))},
        book=PriceBook(price_point(row) for row in session.scalars(select(PriceRow))),
        policies=tuple(
            parse_policy(row.body)
            for row in session.scalars(select(ProgrammeRow).order_by(ProgrammeRow.programme, ProgrammeRow.version))
        ),
        queues=tuple(engine_queue(spec) for spec in queues),
        scheduling=declared_scheduling(session),
        profiles=queue_profiles(queues),
        links=load_links(session),
        budgets=tuple(declared_budgets(session)),
        uses=load_uses(session),
        contract_spent=_contract_spent(session),
        claims=load_claims(session),
    )


def declared_budgets(session: Session) -> list[BudgetSpec]:
    """Every budget as it was declared last, by name, in the session's scope."""
    latest = {row.name: row for row in session.scalars(select(BudgetRow).order_by(BudgetRow.id))}
    return [BudgetSpec.model_validate(latest[name].body) for name in sorted(latest)]


def declared_queues(session: Session) -> list[QueueSpec]:
    """Every queue as it was declared last, by name."""
    latest = {row.name: row for row in session.scalars(select(QueueRow).order_by(QueueRow.id))}
    return [QueueSpec.model_validate(latest[name].body) for name in sorted(latest)]


def queue_profiles(queues: Iterable[QueueSpec]) -> dict[str, Profile]:
    """For each queue that has one: its own profile, else that of the nearest queue above. The queues form trees."""
    by_name = {queue.name: queue for queue in queues}
    found = {}
    for name, queue in by_name.items():
        while queue.profile is None and queue.parent is not None:
            queue = by_name[queue.parent]
        if queue.profile is not None:
            found[name] = queue.profile
    return found


def declared_scheduling(session: Session) -> SchedulingPolicy:
    """How the city schedules, as it was declared last."""
    latest = session.scalars(select(SchedulingPolicyRow).order_by(SchedulingPolicyRow.id.desc()).limit(1)).first()
    return SchedulingPolicy() if latest is None else SchedulingPolicy.model_validate(latest.body)


def engine_queue(spec: QueueSpec) -> Queue:
    """A queue in the engine's units: milli-cards and milli-cores."""

    def milli(amounts: Mapping[str, int]) -> dict[str, int]:
        return {resource: amount * WHOLE_CARD_MILLI for resource, amount in amounts.items()}

    return Queue(
        name=spec.name,
        parent=spec.parent,
        nominal=milli(spec.nominal),
        borrowing_limit=milli(spec.borrowing_limit),
        lending_limit=milli(spec.lending_limit),
        reclaims=spec.reclaims,
        weight=spec.weight,
        max_running=spec.max_running,
        max_pending=spec.max_pending,
        min_runtime_seconds=None if spec.min_runtime is None else parse_duration_seconds(spec.min_runtime),
    )


def _contract_spent(session: Session) -> dict[str, int]:
    return {row.contract_id: row.used_micros for row in session.scalars(select(ContractUseRow))}


def _applicant(tenant: Tenant) -> Applicant:
    return Applicant(
        uscc=tenant.uscc,
        type=tenant.type,
        city=tenant.city,
        industry=tenant.industry,
        established_on=tenant.established_on,
        startup=tenant.startup,
        sme=tenant.sme,
        private=tenant.private,
        registered_provider=tenant.registered_provider,
        dishonest_record=tenant.dishonest_record,
        multimodal_base_model=tenant.multimodal_base_model,
    )


def _contract_facts(contract: Contract) -> ContractFacts:
    return ContractFacts(
        id=contract.id,
        signed_on=contract.signed_on,
        start=contract.start,
        end=contract.end,
        amount=parse_cny(contract.amount),
        service_item=contract.service_item,
        ordered_on_platform=contract.ordered_on_platform,
        paid=contract.paid,
        other_public_funds=parse_cny(contract.other_public_funds) if contract.other_public_funds is not None else None,
    )
