"""Policy versions as data: what is refused and how, what is shipped, and which version decides on a day."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import scheduler.subsidy
from scheduler.domain.faults import Fault
from scheduler.subsidy.document import load_document
from scheduler.subsidy.facts import FACTS, Situation, Unknown
from scheduler.subsidy.programme import (
    Condition,
    PolicyVersion,
    Verdict,
    all_hold,
    applicable,
    check_versions,
    parse_policy,
    shipped_policies,
)

from .cases import case

POLICY = """
programme: test-compute
version: "1"
name: {zh: 测试券, en: Test voucher}
adopted: true
confidence: low
valid_from: 2025-01-01
valid_until: 2025-12-31
claim: not_stated
sources: {measures: {title: Measures, found_at: [here]}}
requires:
  - {code: activity_not_covered, fact: line.activity, in: [pretrain], text: 训练, source: measures, confidence: high}
rates:
  - {code: rate_base, rate: "0.50", text: 按不超过, source: measures, confidence: high}
cap: {amount: "100.00", text: 最高, source: measures, confidence: high}
pool: null
"""


EVIDENCE = {"text": "x", "source": "measures", "confidence": "low"}
CAP = {**EVIDENCE, "amount": "100.00"}


def policy(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = load_document(POLICY)
    return {**document, **changes}


def rule(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"code": "item_not_covered", "text": "x", "source": "measures", "confidence": "low"}
    return policy(requires=[{**document, **changes}])


def rate(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"code": "rate_base", "rate": "0.50", "text": "x", "source": "measures", "confidence": "low"}
    return policy(rates=[{**document, **changes}])


def test_a_good_policy_is_read() -> None:
    assert parse_policy(policy()).in_force(date(2025, 12, 31))


def test_days_may_come_from_json() -> None:
    assert parse_policy(policy(valid_from="2025-01-01")).valid_from == date(2025, 1, 1)


@pytest.mark.parametrize(
    ("document", "where", "message"),
    [
        (policy(discount="0.1"), ("discount",), "Extra inputs are not permitted"),
        (policy(version=2024), ("version",), "valid string"),
        (policy(valid_until="2024-12-31"), (), "valid_until may not be before valid_from"),
        (policy(valid_from="31.12.2024"), ("valid_from",), "a day such as 2025-06-30"),
        (policy(valid_from=1735689600), ("valid_from",), "a day such as 2025-06-30"),
        (policy(cap={"amount": "-1", "text": "x", "source": "measures", "confidence": "low"}), ("cap", "amount"), "below zero"),
        (policy(cap={"amount": 1.5, "text": "x", "source": "measures", "confidence": "low"}), ("cap", "amount"), "in quotes"),
        (policy(sources={"other": {"title": "x", "found_at": ["y"]}}), (), "source measures is not among sources: other"),
        (policy(rates=[]), ("rates",), "at least 1"),
        (rate(rate="1.01"), ("rates", 0, "rate"), "more than the whole"),
        (rate(rate="50"), ("rates", 0, "rate"), "more than the whole"),
        (rate(rate="-0.1"), ("rates", 0, "rate"), "below zero"),
        (policy(claim_cap={**EVIDENCE, "amount": "-0.01"}), ("claim_cap", "amount"), "below zero"),
        (policy(funds_ceiling={**EVIDENCE, "share": "1.5"}), ("funds_ceiling", "share"), "more than the whole"),
        (
            policy(cap={**CAP, "usual": {**CAP, "amount": "100.01"}}),
            ("cap",),
            "usual may not be more than the cap itself",
        ),
        (rate(rate=0.5), ("rates", 0, "rate"), "in quotes"),
        (rate(rate="NaN"), ("rates", 0, "rate"), "from '0' to '1'"),
        (rate(code="rate_secret"), ("rates", 0, "code"), "not a registered reason code"),
        (rate(when=[{"fact": "applicant.startup", "is": True}]), (), "the last of rates must apply"),
        (rate(disputed=True), (), "the last of rates must apply"),
        (rule(fact="applicant.shoe_size", at_least=40), ("requires", 0, "fact"), "not a fact a rule may ask for"),
        (rule(fact="applicant.startup", **{"in": ["yes"]}), ("requires", 0), "needs exactly one of: is"),
        (rule(fact="line.item"), ("requires", 0), "needs exactly one of: in"),
        (rule(fact="line.item", **{"in": ["gold"]}), ("requires", 0), "line.item is never gold"),
        (rule(fact="contract.amount", at_least="1", at_most="2"), ("requires", 0), "exactly one of: at_least, at_most"),
        (rule(fact="contract.amount", at_least=500000), ("requires", 0, "at_least"), "in quotes"),
        (rule(fact="contract.signed_on", at_least="soon"), ("requires", 0, "at_least"), "a day such as"),
        (rule(fact="provider.capacity_pflops", at_least="100"), ("requires", 0, "at_least"), "a whole number"),
        (rule(fact="provider.affiliated", otherwise="eligible", **{"is": False}), ("requires", 0, "otherwise"), "needs_review"),
    ],
)
def test_a_bad_policy_is_refused_where_it_is_bad(document: dict[str, Any], where: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_policy(document)
    assert (where, True) in [(error["loc"], message in error["msg"]) for error in caught.value.errors()]


def condition(**parts: Any) -> Condition:
    return Condition.model_validate(parts)


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        (condition(fact="contract.amount", at_least="3000000.00"), True),
        (condition(fact="contract.amount", at_least="3000000.01"), False),
        (condition(fact="contract.amount", at_most="2999999.99"), False),
        (condition(fact="contract.signed_on", at_most=date(2025, 1, 5)), True),
        (condition(fact="contract.signed_on", at_least=date(2025, 1, 6)), False),
        (condition(fact="used.claims_on_contract", at_most=0), True),
        (condition(fact="applicant.startup", **{"is": False}), True),
        (condition(fact="applicant.type", **{"in": ["university", "institute"]}), False),
    ],
)
def test_a_condition_tests_one_fact(test: Condition, holds: bool) -> None:
    facts = case()
    assert test.check(Situation("shenzhen-training", facts, facts.lines[0])) == Verdict(holds)


def test_conditions_are_false_before_they_are_unknown() -> None:
    facts = case({"applicant.startup": None})
    situation = Situation("shenzhen-training", facts, facts.lines[0])
    unknown = condition(fact="applicant.startup", **{"is": True})
    false = condition(fact="applicant.type", **{"in": ["university"]})
    true = condition(fact="applicant.type", **{"in": ["enterprise"]})
    assert all_hold([unknown, true], situation) == Verdict(None, ("applicant.startup",))
    assert all_hold([unknown, false], situation) == Verdict(False)
    assert all_hold([], situation) == Verdict(True)


def test_every_fact_can_be_read_and_none_of_an_empty_case_is_known_beyond_its_item() -> None:
    facts = case()
    full = Situation("shenzhen-training", facts, facts.lines[0])
    empty_case = case(
        dict.fromkeys(("applicant", "provider", "contract", "model", "used")),
        {"lines": [{"item": "cpu", "activity": None, "start": None, "end": None, "amount": "1"}]},
    )
    empty = Situation("shenzhen-training", empty_case, empty_case.lines[0])
    assert [name for name, fact in FACTS.items() if isinstance(fact.read(full), Unknown)] == []
    assert [name for name, fact in FACTS.items() if not isinstance(fact.read(empty), Unknown)] == ["line.item"]


def test_shipped_versions() -> None:
    assert [f"{version.programme} {version.version}" for version in shipped_policies()] == [
        "beijing-compute 2023-25",
        "guizhou-compute 2024",
        "hangzhou-compute 2024",
        "hangzhou-compute 2025",
        "henan-compute 2023",
        "henan-compute 2025",
        "shanghai-compute 2025",
        "shanghai-innovation 2023",
        "shenzhen-corpus 2024",
        "shenzhen-model 2024",
        "shenzhen-training 2024",
        "shenzhen-training 2026-guide",
    ]


@pytest.mark.parametrize("version", shipped_policies(), ids=lambda version: f"{version.programme}-{version.version}")
def test_shipped_versions_use_every_source_they_name(version: PolicyVersion) -> None:
    assert {part.source for part in version.evidence} == set(version.sources)


def test_shipped_files_are_where_their_names_say() -> None:
    folder = Path(scheduler.subsidy.__file__).parent / "programmes"
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    assert found == {f"{version.programme}/{version.version}" for version in shipped_policies()}


def dated(version: str, valid_from: str, valid_until: str | None, **changes: Any) -> PolicyVersion:
    return parse_policy(policy(version=version, valid_from=valid_from, valid_until=valid_until, **changes))


def test_shipped_versions_never_overlap() -> None:
    check_versions(shipped_policies())


@pytest.mark.parametrize(
    "versions",
    [
        pytest.param([dated("1", "2024-01-01", "2024-12-31"), dated("2", "2025-01-01", None)], id="one after the other"),
        pytest.param([dated("2", "2025-06-01", None), dated("1", "2024-01-01", None)], id="no end stated: until the next"),
        pytest.param(
            [dated("1", "2024-01-01", "2025-12-31"), dated("2", "2025-06-01", None, supersedes="1")], id="superseded by name"
        ),
        pytest.param(
            [dated("1", "2024-01-01", "2025-12-31"), dated("2", "2025-06-01", None, adopted=False)],
            id="not adopted",
        ),
        pytest.param(
            [dated("1", "2024-01-01", "2025-12-31"), dated("2", "2025-06-01", None, programme="another")], id="another programme"
        ),
        pytest.param(
            [
                dated("1", "2024-01-01", "2026-12-31"),
                dated("2", "2025-01-01", "2025-12-31", supersedes="1"),
                dated("3", "2026-01-01", None),
            ],
            id="what was superseded does not come back",
        ),
    ],
)
def test_versions_that_follow_each_other_may_stand_together(versions: list[PolicyVersion]) -> None:
    check_versions(versions)


@pytest.mark.parametrize(
    "versions",
    [
        pytest.param([dated("1", "2024-01-01", "2025-06-01"), dated("2", "2025-06-01", None)], id="a day in common"),
        pytest.param([dated("1", "2024-01-01", "2025-06-30"), dated("2", "2025-06-01", None, supersedes="0")], id="another's"),
        pytest.param([dated("1", "2025-06-01", None), dated("2", "2025-06-01", None, supersedes="1")], id="the same first day"),
    ],
)
def test_two_versions_that_would_both_decide_are_refused(versions: list[PolicyVersion]) -> None:
    with pytest.raises(Fault, match="test-compute 1 and 2 would both decide on 2025-06-01") as caught:
        check_versions(reversed(versions))
    assert caught.value.code == "versions_overlap"


def test_the_version_that_began_last_decides_and_an_unadopted_one_never_by_itself() -> None:
    first = parse_policy(policy())
    second = parse_policy(policy(version="2", valid_from="2026-01-01", valid_until=None))
    draft = parse_policy(policy(version="3", valid_from="2026-06-01", valid_until=None, adopted=False))
    chosen = {day: applicable((draft, second, first), day) for day in (date(2024, 1, 1), date(2025, 12, 31), date(2026, 7, 1))}
    assert list(chosen.values()) == [(first,), (first,), (second,)]
    assert applicable((draft,), date(2026, 7, 1)) == ()
