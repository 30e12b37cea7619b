"""The border: what a case may say, and what is refused, naming the field."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.subsidy.facts import parse_case

from .cases import case, document


def test_amounts_are_micros_and_times_without_a_zone_are_shanghai() -> None:
    facts = case({"lines.0.start": "2025-03-01T00:00:00"})
    assert facts.lines[0].amount == 3_000_000_000_000
    assert facts.lines[0].start is not None
    assert facts.lines[0].start.astimezone(UTC) == datetime(2025, 2, 28, 16, tzinfo=UTC)
    assert facts.on == date(2025, 6, 30)


def test_an_absent_or_empty_section_is_unknown() -> None:
    bare = {"programme": "all", "on": "2025-06-30", "applicant": None, "lines": [{"item": "accelerator", "amount": "1"}]}
    facts = parse_case(bare)
    assert facts.applicant.startup is None
    assert facts.contract.amount is None


@pytest.mark.parametrize(
    ("path", "value", "where", "message"),
    [
        ("lines.0.amount", "1.1234567", ("lines", 0, "amount"), "at most 6 places"),
        ("lines.0.amount", "NaN", ("lines", 0, "amount"), "at most 6 places"),
        ("lines.0.amount", "1e6", ("lines", 0, "amount"), "at most 6 places"),
        ("lines.0.amount", "1000000001", ("lines", 0, "amount"), "more than the 1000000000 CNY"),
        ("lines.0.amount", "-1", ("lines", 0, "amount"), "below zero"),
        ("lines.0.amount", 3000000.0, ("lines", 0, "amount"), "in quotes"),
        ("lines.0.amount", None, ("lines", 0, "amount"), "in quotes"),
        ("lines.0.item", "gold", ("lines", 0, "item"), "'accelerator'"),
        ("lines.0.start", "soon", ("lines", 0, "start"), "2025-03-01T00:00:00+08:00"),
        ("lines.0.start", 1740787200, ("lines", 0, "start"), "2025-03-01T00:00:00+08:00"),
        ("lines.0.end", "2025-02-01T00:00:00+08:00", ("lines", 0), "end may not be before start"),
        ("lines.0.colour", "red", ("lines", 0, "colour"), "Unexpected"),
        ("lines", [], ("lines",), "at least 1"),
        ("applicant.uscc", "91440300MA5EXAMP0D", ("applicant", "uscc"), "check digit"),
        ("applicant.startup", "yes", ("applicant", "startup"), "boolean"),
        ("applicant.hobby", "go", ("applicant", "hobby"), "Unexpected"),
        ("contract.end", "2025-01-01", ("contract",), "end may not be before start"),
        ("contract.amount", "three", ("contract", "amount"), "at most 6 places"),
        ("used.claims_on_contract", True, ("used", "claims_on_contract"), "whole number"),
        ("on", None, ("on",), "a day such as"),
        ("programme", "all", (), "version is allowed only where one programme is named"),
    ],
)
def test_a_bad_case_is_refused_where_it_is_bad(path: str, value: Any, where: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_case(document({path: value}))
    assert (where, True) in [(error["loc"], message in error["msg"]) for error in caught.value.errors()]
