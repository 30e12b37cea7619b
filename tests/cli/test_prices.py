"""Prices in a table: every tier, and a line for each of its off-peak hours."""

from api.cli.prices import price_table
from scheduler.contract.price import PriceView


def test_a_price_and_its_hours() -> None:
    price = PriceView.model_validate(
        {
            "version": "price-1",
            "cluster": "sz",
            "item": "memory",
            "list_price": "0.12",
            "contracted_price": "0.1",
            "sme_price": "0.098765",
            "beside_cards": True,
            "off_peak": [
                {"from": "22:00", "until": "08:00", "contracted_price": "0"},
                {"from": "09:00", "until": "10:00", "weekdays": ["sat", "sun"], "list_price": "0.1"},
            ],
            "effective_from": "2026-11-30T16:00:00Z",
        }
    )
    rows = list(zip(*(column.cells for column in price_table([price]).columns), strict=True))
    assert rows == [
        ("sz", "memory / GiB (beside cards too)", "–", "0.12", "0.10", "–", "0.098765", "–", "2026-12-01 00:00:00", "price-1"),
        ("", "", "", "", "0.00", "", "", "22:00–08:00", "", ""),
        ("", "", "", "0.10", "", "", "", "09:00–10:00 sat,sun", "", ""),
    ]
