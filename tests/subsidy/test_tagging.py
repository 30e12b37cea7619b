"""What each programme pays, from the official rules (golden/), and what must hold whatever the facts (Hypothesis)."""

import itertools
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.contract.cost import Tag, TagStatus
from scheduler.domain.money import format_cny, parse_cny
from scheduler.subsidy.evaluation import Evaluation, evaluate
from scheduler.subsidy.facts import Case
from scheduler.subsidy.programme import PolicyVersion, shipped_policies
from scheduler.subsidy.tagging import Allowance, judge, select, tag_line

from .cases import HANGZHOU, case, golden, goldens


def judged(*changes: Any) -> Evaluation:
    return evaluate(case(*changes), shipped_policies())


def version_of(programme: str, version: str = "2024") -> PolicyVersion:
    (found,) = (policy for policy in shipped_policies() if (policy.programme, policy.version) == (programme, version))
    return found


GOLDENS = [pytest.param(name, row, id=f"{name}: {row['name']}") for name in goldens() for row in golden(name)["cases"]]


@pytest.mark.parametrize(("name", "row"), GOLDENS)
def test_golden(name: str, row: dict[str, Any]) -> None:
    evaluation, expect = judged(golden(name)["base"], row.get("given", {})), row["expect"]
    (total,) = evaluation.totals.values()
    (tag,) = evaluation.lines[-1].tags
    assert (total.status, Decimal(total.uncapped), Decimal(total.capped)) == (
        expect["status"],
        Decimal(expect["uncapped"]),
        Decimal(expect["capped"]),
    )
    assert tag.reason_codes == expect["codes"]
    assert tag.missing == expect.get("missing", [])
    assert tag.version == expect.get("version", tag.version)


def test_every_shipped_version_has_golden_cases() -> None:
    tagged = [
        judged(golden(name)["base"], row.get("given", {})).lines[0].tags[0] for name in goldens() for row in golden(name)["cases"]
    ]
    assert {(tag.programme, tag.version) for tag in tagged} == {(each.programme, each.version) for each in shipped_policies()}


def test_hangzhou_worked_example_line_by_line() -> None:
    lines = judged(HANGZHOU).lines
    assert [(line.tags[0].rate, line.tags[0].capped) for line in lines] == [("0.30", "600000.000000"), ("0.20", "200000.000000")]


def test_limits_are_drawn_on_in_order_of_lines() -> None:
    tags = [line.tags[0] for line in judged(HANGZHOU, {"used.applicant_year": "7300000.00"}).lines]
    assert [tag.cap_remaining_before for tag in tags] == ["700000.000000", "100000.000000"]
    assert [tag.capped for tag in tags] == ["600000.000000", "100000.000000"]


def test_a_limit_whose_use_is_unknown_is_not_said_to_remain_but_still_holds() -> None:
    changes = {"used.pool_year": None, "used.applicant_year": None, "contract.amount": "90000000", "lines.0.amount": "90000000"}
    (tag,) = judged(changes).lines[0].tags
    assert (tag.cap_remaining_before, tag.pool_remaining_before) == (None, None)
    assert tag.capped == "10000000.000000"


def test_a_total_is_no_better_than_the_weakest_line_that_carries_money() -> None:
    storage = {"item": "storage", "amount": "0.00"}
    corpus = {"item": "corpus", "amount": "100.00"}
    card = {"item": "accelerator", "amount": "100.00"}
    assert judged({"lines": [card, storage, corpus]}).totals["shenzhen-training"].status is TagStatus.ELIGIBLE
    storage["amount"] = "100.00"
    assert judged({"lines": [card, storage, corpus]}).totals["shenzhen-training"].status is TagStatus.NEEDS_REVIEW
    assert judged({"lines": [corpus]}).totals["shenzhen-training"].status is TagStatus.NOT_IN_SCOPE


def test_lines_a_programme_does_not_pay_for_leave_the_contract_to_the_others() -> None:
    lines = [{"item": "corpus", "amount": "1000000.00"}, {"item": "accelerator", "amount": "3000000.00"}]
    assert judged({"lines": lines}).totals["shenzhen-training"].capped == "1500000.000000"


def test_amounts_are_rounded_down_and_what_is_claimed_to_the_fen() -> None:
    evaluation = judged({"lines": [{"item": "accelerator", "amount": "1.039999"}]})
    assert evaluation.lines[0].tags[0].capped == "0.519999"
    assert evaluation.selected == {"shenzhen-training": "0.510000"}


def test_a_ruling_needs_no_amount() -> None:
    facts = case()
    ruling = judge(version_of("shenzhen-training"), facts, facts.lines[0], facts.on)
    assert (ruling.status, ruling.rate) == (TagStatus.ELIGIBLE, Decimal("0.5"))


def test_a_negative_amount_is_not_tagged() -> None:
    facts = case()
    ruling = judge(version_of("shenzhen-training"), facts, facts.lines[0], facts.on)
    with pytest.raises(ValueError, match="reverse the original tag"):
        tag_line(ruling, -1, Allowance(None, None, None))


class TestSelect:
    @staticmethod
    def tag(programme: str, capped: str, status: TagStatus = TagStatus.ELIGIBLE) -> Tag:
        return Tag(
            programme=programme,
            version="1",
            status=status,
            reason_codes=["rate_base"],
            base="100",
            rate="0.5",
            uncapped=capped,
            capped=capped,
            selected=False,
        )

    def selected(self, tags: list[Tag], applied: str | None = None) -> list[str]:
        return [tag.programme for tag in select(tags, applied) if tag.selected]

    def test_the_highest_estimate_without_an_application(self) -> None:
        assert self.selected([self.tag("a", "9"), self.tag("b", "10"), self.tag("c", "10")]) == ["b"]

    def test_the_application_even_where_another_would_pay_more(self) -> None:
        assert self.selected([self.tag("a", "9"), self.tag("b", "10")], applied="a") == ["a"]

    def test_nothing_in_place_of_an_application_that_fails(self) -> None:
        assert self.selected([self.tag("a", "0", TagStatus.INELIGIBLE), self.tag("b", "10")], applied="a") == []

    def test_what_needs_review_only_where_it_was_applied_for(self) -> None:
        tags = [self.tag("a", "50", TagStatus.NEEDS_REVIEW), self.tag("b", "10")]
        assert self.selected(tags) == ["b"]
        assert self.selected(tags[:1]) == []
        assert self.selected(tags, applied="a") == ["a"]

    def test_nothing_where_the_tenant_declined_and_the_tags_that_could_pay_say_so(self) -> None:
        paying, other = select([self.tag("a", "9"), self.tag("b", "0", TagStatus.INELIGIBLE)], declined=True)
        assert not paying.selected
        assert paying.reason_codes == ["rate_base", "voucher_declined"]
        assert other.reason_codes == ["rate_base"]

    def test_nothing_that_is_barred_and_the_tag_that_could_pay_says_so(self) -> None:
        tags = select([self.tag("a", "9"), self.tag("b", "10"), self.tag("c", "0")], barred={"b", "c"})
        assert [tag.programme for tag in tags if tag.selected] == ["a"]
        assert [tag.reason_codes for tag in tags] == [["rate_base"], ["rate_base", "contract_claimed_elsewhere"], ["rate_base"]]


# What holds whatever the facts.

FACTS_TO_REMOVE = [
    *(f"applicant.{name}" for name in ("type", "city", "industry", "startup", "sme", "private", "registered_provider")),
    *("applicant.multimodal_base_model", "applicant.dishonest_record"),
    *(f"provider.{name}" for name in ("city", "affiliated", "registrations", "facility_domestic", "capacity_pflops")),
    *(f"contract.{name}" for name in ("signed_on", "start", "end", "amount", "service_item", "ordered_on_platform")),
    *("contract.other_public_funds", "model.registered", "model.multimodal"),
    *("used.applicant_year", "used.pool_year", "used.claims_on_contract"),
    *(f"lines.0.{name}" for name in ("hardware_class", "activity", "start", "end")),
]
amounts = st.integers(0, 30_000_000_000_000).map(format_cny)
lines = st.lists(
    st.fixed_dictionaries(
        {
            "item": st.sampled_from(["accelerator", "accelerator", "cpu", "storage", "corpus", "model_service"]),
            "hardware_class": st.sampled_from(["domestic", "foreign", "unknown"]),
            "activity": st.sampled_from(["pretrain", "inference"]),
            "amount": amounts,
        }
    ),
    min_size=1,
    max_size=6,
)
changes = st.fixed_dictionaries(
    {"lines": lines},
    optional={
        "contract.amount": amounts,
        "contract.other_public_funds": st.sampled_from(["0.00", "0.00", "700000.00"]),
        "used.applicant_year": amounts,
        "used.pool_year": st.integers(0, 600_000_000_000_000).map(format_cny),
        "used.claims_on_contract": st.integers(0, 1),
        "applicant.startup": st.sampled_from([True, False, None]),
        "applicant.type": st.sampled_from(["enterprise", "university"]),
        "applicant.multimodal_base_model": st.booleans(),
        "provider.affiliated": st.booleans(),
        "provider.facility_domestic": st.booleans(),
        "provider.capacity_pflops": st.sampled_from([50, 500]),
        "contract.signed_on": st.dates(date(2024, 12, 1), date(2025, 1, 31)),
        "model": st.fixed_dictionaries({"registered": st.booleans(), "multimodal": st.booleans()}),
    },
)
GUIDE = {"version": "2026-guide", "on": "2026-05-20"}
cities = st.sampled_from([*(golden(name)["base"] for name in goldens()), GUIDE])


def policy_of(evaluation: Evaluation) -> PolicyVersion:
    tag = evaluation.lines[0].tags[0]
    return version_of(tag.programme, tag.version)


@given(cities, changes)
def test_capped_never_exceeds_uncapped_never_exceeds_base_never_exceeds_the_line(
    city: dict[str, Any], changed: dict[str, Any]
) -> None:
    for line in judged(city, changed).lines:
        for tag in line.tags:
            assert 0 <= parse_cny(tag.capped) <= parse_cny(tag.uncapped) <= parse_cny(tag.base) <= parse_cny(line.amount)
            if tag.status in (TagStatus.INELIGIBLE, TagStatus.NOT_IN_SCOPE):
                assert parse_cny(tag.base) == 0
            assert tag.reason_codes


@given(cities, changes)
def test_parts_sum_to_the_whole_and_never_exceed_contract_claim_cap_or_pool(city: dict[str, Any], changed: dict[str, Any]) -> None:
    facts = case(city, changed)
    evaluation = judged(city, changed)
    policy, (total,) = policy_of(evaluation), evaluation.totals.values()
    tags = [line.tags[0] for line in evaluation.lines]
    assert parse_cny(total.capped) == sum(parse_cny(tag.capped) for tag in tags)
    assert parse_cny(total.uncapped) == sum(parse_cny(tag.uncapped) for tag in tags)
    assert facts.contract.amount is not None
    assert sum(parse_cny(tag.base) for tag in tags) <= facts.contract.amount
    capped, others = parse_cny(total.capped), facts.contract.other_public_funds
    if policy.cap is not None:
        assert capped <= max(0, policy.cap.amount - (facts.used.applicant_year or 0))
    if policy.pool is not None:
        assert capped <= max(0, policy.pool.amount - (facts.used.pool_year or 0))
    if policy.funds_ceiling is not None and others:
        assert capped + others <= max(int(facts.contract.amount * policy.funds_ceiling.share), others)


@given(cities, changes)
def test_what_remains_before_a_line_is_what_the_lines_before_it_left(city: dict[str, Any], changed: dict[str, Any]) -> None:
    tags = [line.tags[0] for line in judged(city, changed).lines]
    for before, after in itertools.pairwise(tags):
        for limit, taken in (("contract", before.base), ("cap", before.capped), ("pool", before.capped)):
            left, then = (getattr(tag, f"{limit}_remaining_before") for tag in (before, after))
            if left is not None and then is not None:
                assert parse_cny(then) == parse_cny(left) - parse_cny(taken)


@given(cities, changes, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_the_sum_where_the_contract_is_not_used_up(
    city: dict[str, Any], changed: dict[str, Any], random: Random
) -> None:
    """Claim, cap and pool cut a sum that does not depend on order. A contract that is used up is another matter: at whose rate its
    last yuan is paid depends on who came first."""
    changed = {**changed, "contract.amount": "999999999.00"}
    shuffled = {**changed, "lines": random.sample(changed["lines"], len(changed["lines"]))}
    before, after = judged(city, changed).totals, judged(city, shuffled).totals
    assert {name: (total.capped, total.uncapped) for name, total in before.items()} == {
        name: (total.capped, total.uncapped) for name, total in after.items()
    }


@given(cities, changes, st.randoms(use_true_random=False))
def test_at_one_rate_the_order_changes_no_more_than_rounding_even_then(
    city: dict[str, Any], changed: dict[str, Any], random: Random
) -> None:
    """Less than one micro-CNY for each line."""
    alike = [{**changed["lines"][0], "amount": line["amount"]} for line in changed["lines"]]
    before = judged(city, {**changed, "lines": alike}).totals
    after = judged(city, {**changed, "lines": random.sample(alike, len(alike))}).totals
    for programme in before:
        assert abs(parse_cny(before[programme].capped) - parse_cny(after[programme].capped)) < len(alike)


@given(cities, changes, st.data())
def test_splitting_a_line_lowers_the_total_by_at_most_one_micro(
    city: dict[str, Any], changed: dict[str, Any], data: st.DataObject
) -> None:
    """Every part is rounded down by itself: one part more is at most one micro-CNY less in all, and never more."""
    whole = changed["lines"]
    index = data.draw(st.integers(0, len(whole) - 1))
    amount = parse_cny(whole[index]["amount"])
    first = data.draw(st.integers(0, amount))
    halves = [{**whole[index], "amount": format_cny(part)} for part in (first, amount - first)]
    split = {**changed, "lines": [*whole[:index], *halves, *whole[index + 1 :]]}
    before, after = judged(city, changed).totals, judged(city, split).totals
    for programme in before:
        assert 0 <= parse_cny(before[programme].capped) - parse_cny(after[programme].capped) <= 1
        assert 0 <= parse_cny(before[programme].uncapped) - parse_cny(after[programme].uncapped) <= 1


@given(cities, changes, st.sampled_from(FACTS_TO_REMOVE))
def test_forgetting_a_fact_never_makes_a_line_eligible(city: dict[str, Any], changed: dict[str, Any], fact: str) -> None:
    known = judged(city, changed).lines[0].tags[0]
    less = judged(city, changed, {fact: None}).lines[0].tags[0]
    if known.status is not TagStatus.ELIGIBLE:
        assert less.status is not TagStatus.ELIGIBLE
    if less.status is TagStatus.NEEDS_REVIEW and known.status is TagStatus.ELIGIBLE:
        assert less.missing


@given(cities, changes, st.sampled_from(FACTS_TO_REMOVE))
def test_forgetting_a_fact_never_makes_a_good_line_ineligible(city: dict[str, Any], changed: dict[str, Any], fact: str) -> None:
    if judged(city, changed).lines[0].tags[0].status in (TagStatus.ELIGIBLE, TagStatus.NEEDS_REVIEW):
        assert judged(city, changed, {fact: None}).lines[0].tags[0].status in (TagStatus.ELIGIBLE, TagStatus.NEEDS_REVIEW)


@given(cities, changes)
def test_the_same_case_gives_the_same_tags(city: dict[str, Any], changed: dict[str, Any]) -> None:
    facts: Case = case(city, changed)
    assert evaluate(facts, shipped_policies()) == evaluate(case(city, changed), tuple(reversed(shipped_policies())))
