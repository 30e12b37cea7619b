"""Records as CloudEvents: the attributes the specification asks for, the record untouched inside, and a schema it keeps to."""

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.billing.events import SCHEMA_PATH, cost_event, record_schema, schema_text
from scheduler.billing.journal import Head, Row, append, verify
from scheduler.contract.cost import CostRecord

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "schema" / "cost-record.v1.json"
START = Head()
BODY: dict[str, Any] = {"tenant": "acme", "job": "job-1", "contract": "C-1", "posted_at": "2026-11-24T04:00:00.000000Z"}


def row(head: Head = START, **changes: Any) -> tuple[Head, Row]:
    return append(head, {**BODY, "id": f"cost-{head.sequence + 1:012d}-n", **changes})


def event(row: Row, source: str = "https://city.example") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cost_event(row, source))
    return found


def test_an_event_says_what_the_specification_asks_for() -> None:
    _, first = row(START)
    found = event(first)
    assert {name: found[name] for name in ("specversion", "id", "source", "type")} == {
        "specversion": "1.0",
        "id": "cost-000000000001-n",
        "source": "https://city.example",
        "type": "cn.suanwang.cost.record.v1",
    }
    assert found["datacontenttype"] == "application/json"
    assert found["dataschema"] == f"https://city.example{SCHEMA_PATH}"
    assert datetime.fromisoformat(found["time"]).utcoffset() is not None
    for name, value in found.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name), "attribute names are lower-case letters and digits"
        assert name == "data" or (isinstance(value, str) and value)


def test_the_record_inside_is_the_one_that_was_hashed() -> None:
    head, first = row(note='quotes " and 中文')
    head, second = row(head)
    events = [event(each) for each in (first, second)]
    assert all(each.served() in cost_event(each, "https://c") for each in (first, second))
    assert verify(Head(), [each["data"] for each in events]) == (head, None)
    assert [each["hash"] for each in events] == [first.hash, second.hash]
    assert events[1]["previoushash"] == first.hash


def test_sequences_sort_as_text() -> None:
    events = [event(row(Head(sequence))[1]) for sequence in (8, 9, 99, 999_999)]
    assert sorted(each["sequence"] for each in events) == [each["sequence"] for each in events]


@pytest.mark.parametrize(
    ("changes", "subject"),
    [({}, "jobs/job-1"), ({"job": None}, "contracts/C-1"), ({"job": None, "contract": None}, "tenants/acme")],
)
def test_the_subject_is_what_the_record_is_about(changes: dict[str, None], subject: str) -> None:
    assert event(row(START, **changes)[1])["subject"] == subject


def test_the_schema_in_the_repository_is_the_code_s() -> None:
    command = "python -m scheduler.billing.events > docs/schema/cost-record.v1.json"
    assert KEPT.read_text("utf-8") == schema_text(), f"run: .venv/bin/{command}"
    printed = subprocess.run([sys.executable, *command.split(" ")[1:3]], capture_output=True, check=True, cwd=ROOT).stdout
    assert printed.decode() == schema_text()


def test_the_schema_names_every_field_and_lets_others_be() -> None:
    schema = record_schema()
    assert set(schema["properties"]) == set(CostRecord.model_fields)
    assert "additionalProperties" not in schema_text()
