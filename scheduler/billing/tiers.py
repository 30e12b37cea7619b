"""Which prices below the contracted one a tenant may have, by established facts alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.contract.price import PriceTier
from scheduler.contract.registry import Contract, Provider, Tenant, TenantType


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The tiers that are established to apply to a tenant, and those of which it is not known: these are never charged at."""

    established: frozenset[PriceTier] = frozenset()
    unknown: frozenset[PriceTier] = frozenset()


def entitlement(tenant: Tenant, provider: Provider, contract: Contract | None) -> Entitlement:
    """What a tenant may have from a provider, under a contract if there is one.

    Preferential prices: the contract says so or, where it is silent, the provider is one of the major facilities of the tenant's
    own city. The city's low-cost plan: the tenant is a small or medium-sized enterprise.
    """
    facts: Mapping[PriceTier, bool | None] = {
        PriceTier.PREFERENTIAL: _preferential(tenant, provider, contract),
        PriceTier.SME: False if tenant.sme is None and tenant.type is not TenantType.ENTERPRISE else tenant.sme,
    }
    return Entitlement(
        established=frozenset(tier for tier, applies in facts.items() if applies),
        unknown=frozenset(tier for tier, applies in facts.items() if applies is None),
    )


def _preferential(tenant: Tenant, provider: Provider, contract: Contract | None) -> bool | None:
    if contract is not None and contract.preferential_price is not None:
        return contract.preferential_price
    return provider.city_facility if tenant.city == provider.city else False
