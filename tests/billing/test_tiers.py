"""Who pays less: only by facts that are established, and what is not known is said and never guessed."""

import pytest

from scheduler.billing.tiers import entitlement
from scheduler.contract.price import PriceTier
from scheduler.contract.registry import TenantType
from tests.builders import contract, provider, tenant

P, S = PriceTier.PREFERENTIAL, PriceTier.SME


@pytest.mark.parametrize(
    ("facility", "city", "granted", "found"),
    [
        (True, "shenzhen", None, "established"),
        (True, "hangzhou", None, "neither"),
        (False, "shenzhen", None, "neither"),
        (None, "shenzhen", None, "unknown"),
        (None, "hangzhou", None, "neither"),
        (None, "hangzhou", True, "established"),
        (False, "shenzhen", True, "established"),
        (True, "shenzhen", False, "neither"),
    ],
)
def test_preferential_prices_are_for_the_citys_own_or_by_contract(
    facility: bool | None, city: str, granted: bool | None, found: str
) -> None:
    buyer = entitlement(tenant(city=city), provider(city_facility=facility), contract(preferential_price=granted))
    assert (P in buyer.established, P in buyer.unknown) == (found == "established", found == "unknown")


def test_without_a_contract_the_cities_decide() -> None:
    assert P in entitlement(tenant(), provider(city_facility=True), None).established


@pytest.mark.parametrize(
    ("sme", "type_", "found"),
    [
        (True, TenantType.ENTERPRISE, "established"),
        (False, TenantType.ENTERPRISE, "neither"),
        (None, TenantType.ENTERPRISE, "unknown"),
        (None, TenantType.UNIVERSITY, "neither"),
    ],
)
def test_the_low_cost_plan_is_for_small_and_medium_sized_enterprises(sme: bool | None, type_: TenantType, found: str) -> None:
    buyer = entitlement(tenant(sme=sme, type=type_), provider(), None)
    assert (S in buyer.established, S in buyer.unknown) == (found == "established", found == "unknown")
