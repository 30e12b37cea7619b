"""The ledger's own arithmetic, from nothing but the records."""

import json
from typing import Any

import pytest

from scheduler.billing.journal import Head, append
from scheduler.billing.reconcile import Books

ALL_HOLD = {"chain_unbroken": True, "lines_equal_seconds_times_price": True, "voucher_within_cost": True}


def line(id_: str, unit_seconds: int, contracted: str, **changes: Any) -> dict[str, Any]:
    tag = {"capped": "0.000000", "selected": True}
    prices = {
        "list_price": "12.000000",
        "contracted_price": "10.000007",
        "list_amount": "0.000000",
        "contracted_amount": contracted,
    }
    seconds = {"unit_seconds": unit_seconds, "card_seconds": unit_seconds}
    body = {
        "id": id_,
        "kind": "usage",
        "tenant": "acme",
        "job": "job-1",
        "attempt": "att-1",
        "contract": None,
        **prices,
        **seconds,
        "eligibility": [tag],
        **changes,
    }
    if "list_amount" not in changes:
        body["list_amount"] = f"{unit_seconds * 12 // 3600}.{unit_seconds * 12_000_000 // 3600 % 10**6:06d}"
    return body


def take(*bodies: dict[str, Any]) -> Books:
    books, head = Books(), Head()
    for body in bodies:
        head, row = append(head, body)
        books.take(json.loads(row.served()))
    return books


def test_lines_that_carry_their_rests_reconcile() -> None:
    # 1 s of 10.000007 CNY an hour is 2777.779722… micro-CNY: two lines of a second are 2777 + 2778.
    books = take(line("a", 1, "0.002777", list_amount="0.003333"), line("b", 1, "0.002778", list_amount="0.003333"))
    assert books.identities() == ALL_HOLD
    assert books.total() == "0.005555"
    assert books.jobs["job-1"].card_seconds == 2


@pytest.mark.parametrize("contracted", ["0.002776", "0.002778"])
def test_a_micro_too_few_or_too_many_is_seen(contracted: str) -> None:
    assert not take(line("a", 1, contracted, list_amount="0.003333")).identities()["lines_equal_seconds_times_price"]


def test_a_list_amount_that_is_wrong_is_seen() -> None:
    assert not take(line("a", 3600, "10.000007", list_amount="11.999999")).identities()["lines_equal_seconds_times_price"]


def test_a_voucher_above_the_cost_is_seen() -> None:
    tags = [{"capped": "10.000008", "selected": True}, {"capped": "99.000000", "selected": False}]
    assert not take(line("a", 3600, "10.000007", eligibility=tags)).identities()["voucher_within_cost"]


def test_only_the_selected_tag_counts() -> None:
    tags = [{"capped": "5.000003", "selected": True}, {"capped": "3.000002", "selected": False}]
    assert take(line("a", 3600, "10.000007", eligibility=tags)).jobs["job-1"].voucher_micros == 5_000_003


def test_nothing_is_added_up_from_the_first_break_on() -> None:
    head, first = append(Head(), line("a", 3600, "10.000007"))
    _, second = append(head, line("b", 3600, "10.000007"))
    books = Books()
    assert books.take_rows([first])
    assert not books.take({**json.loads(second.served()), "unit_seconds": 1})
    assert not books.take_rows([second])
    assert books.first_break is not None
    assert books.first_break.sequence == 2
    assert books.total() == "10.000007"
    assert books.identities()["chain_unbroken"] is False


def test_records_cut_off_the_end_are_missed() -> None:
    first, second = line("a", 1, "0.002777", list_amount="0.003333"), line("b", 1, "0.002778", list_amount="0.003333")
    whole, cut = take(first, second), take(first)
    end = whole.head
    whole.end(end)
    assert whole.identities() == ALL_HOLD
    cut.end(end)
    assert cut.first_break is not None
    assert (cut.first_break.sequence, cut.identities()["chain_unbroken"]) == (2, False)


def purchase(id_: str, amount: str, **changes: Any) -> dict[str, Any]:
    amounts = {"list_price": "0.000000", "contracted_price": "0.000000", "list_amount": amount}
    return line(id_, 0, amount, kind="purchase", attempt=None, **amounts, **changes)


def test_what_was_bought_beside_the_machines_counts_by_its_amount() -> None:
    metered = line("b", 1, "0.002777", list_amount="0.003333")
    books = take(purchase("a", "1000.000001"), metered, purchase("c", "5.000000", job=None))
    assert books.identities() == ALL_HOLD
    assert books.total() == "1005.002778"
    assert books.jobs[""].contracted_micros == 5_000_000
    assert take(purchase("a", "7.000000"), {**purchase("b", "-7.000000"), "kind": "reversal"}).identities() == ALL_HOLD
