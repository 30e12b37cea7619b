"""How a tag came about: every rule, the rate and each cut, in both languages, ending in the tag's own amounts."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.contract.cost import TagStatus
from scheduler.domain.money import parse_cny
from scheduler.subsidy.elsewhere import routed_elsewhere
from scheduler.subsidy.evaluation import evaluate
from scheduler.subsidy.programme import shipped_policies
from scheduler.subsidy.tagging import CARRYING
from scheduler.subsidy.trace import TraceStep, traces

from .cases import BEIJING, HANGZHOU, case, golden, goldens
from .test_tagging import changes, cities

ROWS = [(golden(name)["base"], row.get("given", {})) for name in goldens() for row in golden(name)["cases"]]


def steps(*changed: Any) -> list[TraceStep]:
    """Of the last line's only tag."""
    facts = case(*changed)
    return traces(facts, shipped_policies(), evaluate(facts, shipped_policies()))[-1][0]


def step(found: list[TraceStep], **wanted: Any) -> TraceStep:
    (one,) = (each for each in found if all(getattr(each, name) == value for name, value in wanted.items()))
    return one


def test_a_rule_says_what_was_found_what_is_asked_and_what_it_rests_on() -> None:
    found = step(steps(), fact="provider.registered")
    assert (found.code, found.found, found.asked, found.holds) == ("provider_not_registered", "yes", "yes", True)
    assert (found.words, found.confidence) == ("服务机构须入库，资格按服务项目认定", "medium")
    assert found.source is not None
    assert "入库服务机构名单" in found.source
    assert "✓ provider.registered: yes (asked: yes)" in found.en
    assert "✓ provider.registered:是(要求:是)" in found.zh


def test_a_rule_that_fails_says_what_follows() -> None:
    found = step(steps({"provider.affiliated": True}), fact="provider.affiliated")
    assert found.holds is False
    assert "✗ provider.affiliated: yes (asked: no) → ineligible: provider and applicant are affiliated" in found.en
    assert "不符合" in found.zh


def test_a_rule_that_cannot_be_checked_names_the_fact() -> None:
    found = step(steps({"provider.registrations": None}), fact="provider.registered")
    assert (found.found, found.holds, found.missing) == (None, None, ("provider.registrations",))
    assert "? provider.registered: not known (provider.registrations)" in found.en
    assert "未知" in found.zh


@pytest.mark.parametrize(
    ("changed", "fact", "asked", "found"),
    [
        (BEIJING, "contract.signed_on", "≥ 2023-09-01", "2025-01-05"),
        (BEIJING, "contract.term_months", "≤ 12", "11"),
        (BEIJING, "contract.other_public_funds", "≤ 0.000000", "0.000000"),
        (BEIJING, "applicant.industry", "software | manufacturing", "software"),
    ],
)
def test_values_are_shown_as_people_write_them(changed: Any, fact: str, asked: str, found: str) -> None:
    shown = step(steps(changed), fact=fact)
    assert (shown.asked, shown.found) == (asked, found)


def test_rates_are_tried_in_order_and_the_one_taken_says_why() -> None:
    rates = [each for each in steps(HANGZHOU, {"lines.1.activity": "inference", "model.registered": None}) if each.kind == "rate"]
    assert [(each.code, each.found, each.holds) for each in rates] == [
        ("rate_domestic", "30 %", False),
        ("rate_maas", "30 %", False),
        ("rate_other", "20 %", True),
        ("rate_other", "20 %", True),
    ]
    unsure = steps(HANGZHOU, {"lines.1.activity": "inference", "model.registered": None, "model.multimodal": True})
    assert step(unsure, code="rate_undecided").missing == ("model.registered",)


def test_amounts_go_from_the_line_through_every_limit_to_what_is_paid() -> None:
    changed = {"contract.amount": "2000000.00", "used.applicant_year": "9100000.00", "used.pool_year": "499500000.00"}
    amounts = [each for each in steps(changed) if each.kind == "amount"]
    assert [(each.before, each.limit, each.after, each.code) for each in amounts] == [
        ("3000000.000000", "2000000.000000", "2000000.000000", "contract_amount_reached"),
        ("2000000.000000", None, "1000000.000000", None),
        ("1000000.000000", "900000.000000", "900000.000000", "cap_reached"),
        ("900000.000000", "500000.000000", "500000.000000", "pool_reached"),
    ]


def test_other_public_money_shows_as_a_limit() -> None:
    found = steps({"version": "2026-guide", "on": "2026-05-20", "contract.other_public_funds": "600000.00"})
    assert step(found, code="other_public_funds").limit == "900000.000000"


def test_a_line_that_gets_nothing_has_no_amounts() -> None:
    assert {each.kind for each in steps({"lines.0.item": "corpus"})} == {"version", "rule", "result"}


def test_what_is_routed_elsewhere_has_its_answer() -> None:
    facts = case({"programme": "hangzhou-interest-discount", "version": None})
    ((found,),) = traces(facts, shipped_policies(), evaluate(facts, shipped_policies(), routed_elsewhere()))
    assert [each.kind for each in found] == ["result"]
    assert "claimed elsewhere" in found[0].en


def check(changed: tuple[Any, ...]) -> None:
    """The steps of every tag lead to it: the same amounts, each limit as it was, every failed rule among its codes."""
    facts = case(*changed)
    evaluation = evaluate(facts, shipped_policies())
    for line, found in zip(evaluation.lines, traces(facts, shipped_policies(), evaluation), strict=True):
        (tag,), (trail,) = line.tags, found
        amounts = [each for each in trail if each.kind == "amount"]
        assert trail[-1].after == tag.capped
        assert bool(amounts) == (tag.status in CARRYING)
        if amounts:
            assert (amounts[0].before, amounts[0].after) == (line.amount, tag.base)
            assert (amounts[1].after, amounts[-1].after) == (tag.uncapped, tag.capped)
            for before, after in itertools.pairwise(amounts):
                assert before.after == after.before
            for each in amounts:
                assert each.limit is None or each.after is None or parse_cny(each.after) <= parse_cny(each.limit)
            assert {each.code for each in amounts if each.code} <= set(tag.reason_codes)
        failed = {each.code for each in trail if each.kind in ("version", "rule") and each.holds is False}
        assert set(tag.reason_codes) <= failed if tag.status is TagStatus.NOT_IN_SCOPE else failed <= set(tag.reason_codes)
        assert all(re.search("[\u4e00-\u9fff]", each.zh) or each.kind == "amount" for each in trail)


@pytest.mark.parametrize("changed", ROWS)
def test_the_steps_of_every_golden_case_lead_to_its_tag(changed: tuple[Any, ...]) -> None:
    check(changed)


@given(cities, changes)
def test_the_steps_of_any_case_lead_to_its_tag(city: dict[str, Any], changed: dict[str, Any]) -> None:
    check((city, changed))


@given(st.sampled_from(ROWS))
def test_the_same_tag_has_the_same_steps(changed: tuple[Any, ...]) -> None:
    assert steps(*changed) == steps(*changed)
