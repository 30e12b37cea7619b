"""A whole case: every programme side by side, one claim on a contract, totals, and what is routed elsewhere."""

from typing import Any

import pytest

from scheduler.contract.cost import TagStatus
from scheduler.domain.faults import Fault
from scheduler.subsidy.elsewhere import routed_elsewhere
from scheduler.subsidy.evaluation import Evaluation, evaluate
from scheduler.subsidy.programme import PolicyVersion, parse_policy, shipped_policies
from scheduler.subsidy.tagging import rivals

from .cases import BEIJING, case
from .test_programme import policy

PROGRAMMES = [
    *("beijing-compute", "guizhou-compute", "hangzhou-compute", "henan-compute", "shanghai-compute", "shanghai-innovation"),
    *("shenzhen-corpus", "shenzhen-model", "shenzhen-training"),
]


def judged(*changes: Any, policies: tuple[PolicyVersion, ...] = shipped_policies()) -> Evaluation:
    return evaluate(case(*changes), policies, routed_elsewhere())


def test_all_evaluates_every_programme_by_the_version_in_force_and_selects_one() -> None:
    (line,) = judged({"programme": "all", "version": None}).lines
    assert [tag.programme for tag in line.tags] == PROGRAMMES
    assert [(tag.programme, tag.version) for tag in line.tags if tag.selected] == [("shenzhen-training", "2024")]


def test_corpora_models_and_compute_of_one_case_go_to_the_voucher_of_each() -> None:
    lines = [{"item": item, "amount": "1000000.00"} for item in ("accelerator", "corpus", "model_service")]
    evaluation = judged({"programme": "all", "version": None, "lines": lines, "model.registered": True})
    assert [[tag.programme for tag in line.tags if tag.selected] for line in evaluation.lines] == [
        ["shenzhen-training"],
        ["shenzhen-corpus"],
        ["shenzhen-model"],
    ]
    assert evaluation.selected == {
        "shenzhen-corpus": "300000.000000",
        "shenzhen-model": "300000.000000",
        "shenzhen-training": "500000.000000",
    }


def test_a_compute_voucher_never_pays_for_corpora_or_models() -> None:
    lines = [{"item": item, "amount": "1000000.00"} for item in ("corpus", "model_service")]
    for line in judged({"programme": "all", "version": None, "lines": lines}).lines:
        for tag in line.tags:
            assert tag.programme in ("shenzhen-corpus", "shenzhen-model") or tag.status is TagStatus.NOT_IN_SCOPE


@pytest.mark.parametrize(
    ("changes", "code", "field", "message"),
    [
        (
            {"programme": "atlantis", "version": None},
            "programme_unknown",
            "programme",
            "'atlantis' is not known; allowed: all",
        ),
        ({"version": "1999"}, "version_unknown", "version", "shenzhen-training has no version '1999'"),
    ],
)
def test_a_programme_or_version_that_is_not_known_is_refused(changes: dict[str, Any], code: str, field: str, message: str) -> None:
    with pytest.raises(Fault, match=message) as caught:
        judged(changes)
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize("programme", routed_elsewhere())
def test_what_is_no_cost_of_a_job_has_a_clear_answer(programme: str) -> None:
    evaluation = judged({"programme": programme, "version": None})
    (tag,) = evaluation.lines[0].tags
    assert (tag.programme, tag.status, tag.reason_codes, tag.capped) == (programme, "not_in_scope", ["not_in_scope"], "0.000000")
    assert evaluation.totals[programme].status is TagStatus.NOT_IN_SCOPE
    assert evaluation.selected == {}


def test_no_programme_is_both_here_and_elsewhere() -> None:
    assert set(routed_elsewhere()) & {version.programme for version in shipped_policies()} == set()


# Two programmes on one contract.


def other(share: str, **changes: Any) -> PolicyVersion:
    """A programme of another level that would pay for the same contract."""
    changed = policy(programme="other-compute", valid_from="2023-01-01", cap=None, **changes)
    changed["rates"][0]["rate"] = share
    return parse_policy(changed)


SOLE = {"text": "x", "source": "measures", "confidence": "high"}
TWO_LINES = {
    "programme": "all",
    "version": None,
    "lines": [
        {"item": "accelerator", "amount": "400000.00"},
        {"item": "storage", "amount": "100000.00"},
    ],
}


def shares(evaluation: Evaluation) -> list[list[str]]:
    return [[tag.programme for tag in line.tags if tag.selected] for line in evaluation.lines]


def beijing_and(another: PolicyVersion) -> Evaluation:
    beijing = tuple(version for version in shipped_policies() if version.programme == "beijing-compute")
    return judged(BEIJING, TWO_LINES, policies=(*beijing, another))


def test_who_must_be_alone_on_a_contract_has_it_where_it_pays_more() -> None:
    evaluation = beijing_and(other("0.10"))  # 80,000 of Beijing, 50,000 of the other, 10,000 of it on a line Beijing leaves out
    assert shares(evaluation) == [["beijing-compute"], []]
    assert "contract_claimed_elsewhere" in evaluation.lines[1].tags[1].reason_codes
    assert evaluation.lines[1].tags[1].status is TagStatus.ELIGIBLE


def test_and_is_itself_out_where_the_other_pays_more() -> None:
    evaluation = beijing_and(other("0.30"))
    assert shares(evaluation) == [["other-compute"], ["other-compute"]]
    assert "contract_claimed_elsewhere" in evaluation.lines[0].tags[0].reason_codes


def test_programmes_that_say_nothing_of_it_share_a_contract_line_by_line() -> None:
    one = parse_policy(policy(valid_from="2023-01-01", cap=None))
    assert shares(judged(BEIJING, TWO_LINES, policies=(one, other("0.30")))) == [["test-compute"], ["test-compute"]]


def test_rivals() -> None:
    alone, free, third = other("0.1", sole_on_contract=SOLE), parse_policy(policy()), parse_policy(policy(programme="third"))
    everyone = (alone, free, third)
    assert rivals(everyone, []) == frozenset()
    assert rivals(everyone, ["other-compute"]) == {"test-compute", "third"}
    assert rivals(everyone, ["third"]) == {"other-compute"}
