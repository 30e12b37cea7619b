"""A price as it is published: exact, every discount below what is listed, and one price at any time of the week."""

from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.contract.price import OffPeak, PriceEntry, amounts
from scheduler.domain.faults import Fault

PRICE = {
    "cluster": "sz",
    "item": "accelerator",
    "model": "910B3",
    "list_price": "12",
    "contracted_price": "10",
    "preferential_price": "8",
    "effective_from": "2026-01-01T00:00:00+08:00",
}
NIGHT = {"from": "22:00", "until": "08:00", "contracted_price": "6"}


def test_a_price_is_normalised_to_six_places() -> None:
    price = PriceEntry.model_validate({**PRICE, "off_peak": [NIGHT]})
    assert price.list_price == "12.000000"
    assert amounts(price) == {"list_price": 12_000_000, "contracted_price": 10_000_000, "preferential_price": 8_000_000}
    assert amounts(price.off_peak[0]) == {"contracted_price": 6_000_000}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"contracted_price": "12.000001", "preferential_price": None}, "tier_above_list"),
        ({"sme_price": "12.000001"}, "tier_above_list"),
        ({"sme_price": "10.000001"}, "tier_above_contracted"),
        ({"preferential_price": "10.000001"}, "tier_above_contracted"),
        ({"model": None}, "model_misplaced"),
        ({"item": "cpu"}, "model_misplaced"),
        ({"item": "memory"}, "model_misplaced"),
        ({"beside_cards": True}, "beside_cards_misplaced"),
        ({"item": "storage"}, "enum"),
        ({"list_price": "10000.000001"}, "price_too_high"),
        ({"list_price": "-0.000001"}, "amount_negative"),
        ({"list_price": "0.0000001"}, "amount_too_precise"),
        ({"sme_price": "NaN"}, "amount_not_finite"),
        ({"sme_price": "-Infinity"}, "amount_not_finite"),
        ({"sme_price": "1e3"}, "amount_with_exponent"),
        ({"sme_price": "1.5E-3"}, "amount_with_exponent"),
        ({"sme_price": "1,000"}, "amount_malformed"),
        ({"sme_price": "{0}"}, "amount_malformed"),
        ({"sme_price": "9999999999"}, "amount_too_large"),
        ({"effective_from": "2026-01-01T00:00:00"}, "timezone_aware"),
        ({"list_price": 12.5}, "string_type"),
        ({"currency": "USD"}, "extra_forbidden"),
        ({"vip_price": "1"}, "extra_forbidden"),
        ({"off_peak": [NIGHT] * 5}, "too_long"),
        ({"off_peak": [{**NIGHT, "until": "22:00"}]}, "off_peak_empty"),
        ({"off_peak": [{"from": "22:00", "until": "08:00"}]}, "off_peak_without_price"),
        ({"off_peak": [{**NIGHT, "until": "24:00"}]}, "time_of_day"),
        ({"off_peak": [{**NIGHT, "weekdays": []}]}, "too_short"),
        ({"off_peak": [{**NIGHT, "weekdays": ["monday"]}]}, "literal_error"),
        ({"off_peak": [{**NIGHT, "vip_price": "1"}]}, "extra_forbidden"),
        ({"off_peak": [{**NIGHT, "contracted_price": "10.5"}]}, "off_peak_above_ordinary"),
        ({"off_peak": [{**NIGHT, "list_price": "7"}]}, "tier_above_list"),
        ({"off_peak": [{**NIGHT, "sme_price": "12.1"}]}, "tier_above_list"),
        ({"off_peak": [NIGHT, {**NIGHT, "from": "07:59", "until": "09:00"}]}, "off_peak_overlap"),
        (
            {"off_peak": [{**NIGHT, "weekdays": ["sun"]}, {**NIGHT, "from": "07:00", "until": "09:00", "weekdays": ["mon"]}]},
            "off_peak_overlap",
        ),
    ],
)
def test_a_senseless_price_is_refused_by_its_code(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        PriceEntry.model_validate({**PRICE, **changes})
    error = refusal.value.errors()[0]
    cause = error.get("ctx", {}).get("error")
    assert code == (cause.code if isinstance(cause, Fault) else error["type"])


def test_hours_may_meet_and_may_be_of_different_days() -> None:
    morning = {**NIGHT, "from": "08:00", "until": "09:00"}
    weekend = {"from": "09:00", "until": "22:00", "weekdays": ["sat", "sun"], "sme_price": "3"}
    price = PriceEntry.model_validate({**PRICE, "off_peak": [NIGHT, morning, weekend]})
    assert price.model_dump(mode="json", by_alias=True, exclude_none=True)["off_peak"][2] == {
        **weekend,
        "sme_price": "3.000000",
    }
    assert OffPeak.model_validate(weekend).hours().weekdays == {5, 6}
