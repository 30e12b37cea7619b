"""What places cost after voucher: only an eligible estimate lowers a price the engine chooses by."""

from typing import Any

import pytest

from scheduler.contract.registry import Contract
from scheduler.engine.snapshot import Quote
from scheduler.service.offers import prices
from scheduler.service.registry import load_registry
from scheduler.service.snapshot import registered_fleet
from scheduler.service.tags import Terms
from scheduler.store.database import CITY, Database
from scheduler.store.tables import ContractRow, SubsidyUseRow, TenantRow
from tests.builders import NOW, after, price_row, spec, tenant

FULL = Quote(12_000_000, 10_000_007, 10_000_007)
HALF = Quote(12_000_000, 10_000_007, 10_000_007 - 5_000_003)


def offered(
    city: Database, tenant_id: str = "acme", model: str | None = "910B3", cluster: str = "sz", **changes: Any
) -> Quote | None:
    terms = Terms.of(tenant_id, spec(**changes))
    with city.read(CITY) as session:
        registry = load_registry(session)
        found = prices(registry, registered_fleet(session), [terms, terms], NOW)
    return found.get((terms.key(), cluster, model))


def test_an_eligible_voucher_lowers_the_net_price_and_nothing_else(city: Database) -> None:
    assert offered(city) == HALF
    assert offered(city, voucher={"programme": "shenzhen-training"}) == HALF


def test_a_startup_pays_less(city: Database) -> None:
    _change_tenant(city, startup=True)
    assert offered(city) == Quote(12_000_000, 10_000_007, 10_000_007 - 6_000_004)


@pytest.mark.parametrize("voucher", [None, {"programme": "shenzhen-training"}])
def test_what_needs_review_does_not_lower_it(city: Database, voucher: object) -> None:
    _change_tenant(city, startup=None)
    assert offered(city, voucher=voucher) == FULL


@pytest.mark.parametrize(
    "changes",
    [
        {"voucher": {"programme": "none"}},
        {"activity": "inference"},
        {"tenant_id": "uni"},
        {"voucher": {"programme": "hangzhou-compute"}},
    ],
)
def test_declined_out_of_scope_without_a_contract_or_applied_elsewhere_is_full_price(
    city: Database, changes: dict[str, Any]
) -> None:
    assert offered(city, **changes) == FULL


@pytest.mark.parametrize(("used", "net"), [(10_000_000, 10_000_007), (9_999_998, 8_000_007)])
def test_what_is_left_of_the_cap_is_all_that_counts(city: Database, used: int, net: int) -> None:
    with city.write(CITY) as session:
        session.add(SubsidyUseRow(programme="shenzhen-training", year=2026, tenant_id="acme", used_micros=used * 10**6))
    quote = offered(city)
    assert quote is not None
    assert quote.net_price == net


def test_a_cap_used_up_last_year_does_not_count(city: Database) -> None:
    with city.write(CITY) as session:
        session.add(SubsidyUseRow(programme="shenzhen-training", year=2025, tenant_id="acme", used_micros=10**13))
    assert offered(city) == HALF


def test_an_unregistered_provider_is_full_price(city: Database) -> None:
    assert offered(city, cluster="hz", model="H800") == Quote(20_500_000, 20_500_000, 20_500_000)


def test_what_has_no_price_is_not_offered(city: Database) -> None:
    assert offered(city, cluster="hz", model=None) is None
    with city.write(CITY) as session:
        session.add(price_row("hz", None, "1", after(seconds=1)))
    assert offered(city, cluster="hz", model=None) is None


def test_a_job_without_cards_is_offered_cores(city: Database) -> None:
    quote = offered(city, model=None)
    assert quote is not None
    assert (quote.list_price, quote.contracted_price) == (100_001, 100_001)


def test_the_contract_that_is_named_counts_else_the_one_that_ends_first(city: Database) -> None:
    with city.write(CITY) as session:
        body = {**session.get_one(ContractRow, "C-1").body, "id": "C-2", "affiliated": True, "end": "2026-06-30"}
        kept = Contract.model_validate(body)
        session.add(ContractRow(id="C-2", tenant_id="acme", provider_id="p-sz", body=kept.model_dump(mode="json"), created_at=NOW))
    assert offered(city) == FULL
    assert offered(city, contract="C-2") == FULL
    assert offered(city, contract="C-1") == HALF


def _change_tenant(city: Database, **changes: Any) -> None:
    with city.write(CITY) as session:
        session.get_one(TenantRow, "acme").body = tenant(**changes).model_dump(mode="json")


NIGHT = {"from": "22:00", "until": "08:00", "contracted_price": "5"}
"""NOW is noon in China."""


@pytest.mark.parametrize(
    ("max_runtime", "micros"),
    [
        ("1h", 10_000_007),
        ("90m", 10_000_007),
        ("12h", (10 * 10_000_007 + 2 * 5_000_000) // 12),
        ("24h", (14 * 10_000_007 + 50_000_000) // 24),
    ],
)
def test_off_peak_hours_count_by_how_long_a_job_may_run(city: Database, max_runtime: str, micros: int) -> None:
    with city.write(CITY) as session:
        session.add(price_row("sz", "910B3", "10.000007", list_price="12", off_peak=[NIGHT]))
    assert offered(city, max_runtime=max_runtime, voucher={"programme": "none"}) == Quote(12_000_000, micros, micros)


def test_an_announced_price_counts_for_the_time_after_it(city: Database) -> None:
    with city.write(CITY) as session:
        session.add(price_row("sz", "910B3", "4", after(hours=1)))
    quote = offered(city, max_runtime="4h", voucher={"programme": "none"})
    assert quote == Quote((12_000_000 + 3 * 4_000_000) // 4, (10_000_007 + 3 * 4_000_000) // 4, (10_000_007 + 3 * 4_000_000) // 4)


def test_a_tenant_is_offered_its_own_tier(city: Database) -> None:
    with city.write(CITY) as session:
        session.add(price_row("sz", "910B3", "10", sme_price="6"))
    assert offered(city, voucher={"programme": "none"}) == Quote(10_000_000, 6_000_000, 6_000_000)
    _change_tenant(city, sme=None)
    assert offered(city, voucher={"programme": "none"}) == Quote(10_000_000, 10_000_000, 10_000_000)


def test_what_lies_beside_a_card_is_in_its_price_where_it_is_charged(city: Database) -> None:
    hardware = {"models": ["910B3"], "per_node": 8, "cpus": 64, "host_memory_gib": 512}
    plain = offered(city, hardware=hardware, voucher={"programme": "none"})
    assert plain == FULL
    with city.write(CITY) as session:
        session.add(price_row("sz", None, "0.2", beside_cards=True))
        session.add(price_row("sz", None, "0.01", item="memory", beside_cards=True))
    beside = 8 * 200_000 + 64 * 10_000
    quote = offered(city, hardware=hardware, voucher={"programme": "none"})
    assert quote == Quote(12_000_000 + beside, 10_000_007 + beside, 10_000_007 + beside)
    assert offered(city, hardware={"models": ["910B3"], "per_node": 8}, voucher={"programme": "none"}) == FULL


def test_terms_differ_only_by_about_how_long_a_job_may_run(city: Database) -> None:
    keys = [Terms.of("acme", spec(max_runtime=text)).key() for text in ("1s", "1h", "61m", "4h", "25h", "7d", "30d")]
    assert len(set(keys)) == 3
    assert keys[0] == keys[1] != keys[2] == keys[3] != keys[4] == keys[5] == keys[6]
