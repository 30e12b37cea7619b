"""The published schemas: current, complete, taking what the models take and refusing what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from scheduler.subsidy.programme import shipped_documents
from scheduler.subsidy.schema import Noun, schema, schema_text

from .cases import document, golden, goldens
from .test_programme import CAP, EVIDENCE, policy, rate, rule

KEPT = Path(__file__).parents[2] / "docs" / "schema"
NOUNS: tuple[Noun, Noun] = ("programme", "case")


def errors(noun: Noun, content: Any) -> list[str]:
    validator = Draft202012Validator(schema(noun), format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(json.loads(json.dumps(content, default=str)))]


@pytest.mark.parametrize("noun", NOUNS)
def test_the_schemas_in_the_repository_are_current(noun: Noun) -> None:
    kept = (KEPT / f"{noun}.json").read_text("utf-8")
    assert kept == schema_text(noun), f"run: .venv/bin/suanwang programmes schema {noun} > docs/schema/{noun}.json"


@pytest.mark.parametrize("noun", NOUNS)
def test_they_are_schemas(noun: Noun) -> None:
    Draft202012Validator.check_schema(schema(noun))


@pytest.mark.parametrize("shipped", shipped_documents(), ids=lambda shipped: f"{shipped['programme']}-{shipped['version']}")
def test_every_shipped_version_is_valid(shipped: dict[str, Any]) -> None:
    assert errors("programme", shipped) == []


@pytest.mark.parametrize("name", goldens())
def test_every_golden_case_is_valid(name: str) -> None:
    for row in golden(name)["cases"]:
        assert errors("case", document(golden(name)["base"], row.get("given", {}))) == []


@pytest.mark.parametrize(
    "bad",
    [
        policy(discount="0.1"),
        policy(valid_from="31.12.2024"),
        policy(cap={**CAP, "amount": "-1"}),
        policy(cap={**CAP, "amount": 1.5}),
        policy(rates=[]),
        policy(funds_ceiling={**EVIDENCE, "share": "1.5"}),
        rate(rate="1.01"),
        rate(rate=0.5),
        rate(code="rate_secret"),
        rule(fact="applicant.shoe_size", at_least=40),
        rule(fact="applicant.startup", **{"in": ["yes"]}),
        rule(fact="line.item", **{"in": ["gold"]}),
        rule(fact="line.item", **{"is": True}),
        rule(fact="contract.amount", at_least="1", at_most="2"),
        rule(fact="contract.amount", at_least=500000),
        rule(fact="contract.amount"),
        rule(fact="contract.signed_on", at_least="soon"),
        rule(fact="provider.capacity_pflops", at_least="100"),
        rule(fact="provider.affiliated", otherwise="eligible", **{"is": False}),
    ],
)
def test_a_bad_policy_is_refused(bad: dict[str, Any]) -> None:
    assert errors("programme", bad)


@pytest.mark.parametrize(
    "changes",
    [
        {"contract.amount": "1.1234567"},
        {"contract.amount": "NaN"},
        {"contract.amount": "1e6"},
        {"contract.amount": "-1"},
        {"contract.amount": 3.5},
        {"on": "soon"},
        {"applicant.hobby": "go"},
        {"applicant.startup": "yes"},
        {"lines.0.item": "gold"},
        {"used.claims_on_contract": -1},
    ],
)
def test_a_bad_case_is_refused(changes: dict[str, Any]) -> None:
    assert errors("case", document(changes))
