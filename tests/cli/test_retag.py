"""`suanwang programmes replay` on the records of a real database: what another version would have paid."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from api.cli.programmes import app
from scheduler.store.database import Database
from tests.builders import city_database, programme_document
from tests.service.test_retag import run
from tests.store.databases import fresh_database


@pytest.fixture
def city(tmp_path: Path) -> Iterator[Database]:
    with fresh_database("sqlite", tmp_path) as database:
        yield city_database(database)


def replayed(folder: Path, rate: str, *flags: str, **options: str) -> Result:
    document = programme_document() | {"version": "draft"}
    document["rates"][-1]["rate"] = rate
    file = folder / "draft.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), "utf-8")
    given = {"programme": str(file), "from": "2026-03-01", "to": "2026-04-01", "data": str(folder), **options}
    return CliRunner().invoke(app, ["replay", *flags, *(text for name, value in given.items() for text in (f"--{name}", value))])


def test_the_difference_by_tenant_and_by_line(city: Database, tmp_path: Path) -> None:
    for hour in (0, 1, 24 * 40):
        run(city, hour)
    result = replayed(tmp_path, "0.25", "--json")
    found = json.loads(result.stdout)
    assert (found["programme"], found["version"], found["records"], found["changed"]) == ("shenzhen-training", "draft", 2, 2)
    assert found["tenants"] == {"acme": found["total"]}
    assert (found["total"]["before"], found["total"]["after"], found["total"]["difference"]) == (
        "80.000056",
        "40.000028",
        "-40.000028",
    )
    assert [(line["sequence"], line["before"]["paid"], line["after"]["paid"]) for line in found["lines"]] == [
        (1, "40.000028", "20.000014"),
        (2, "40.000028", "20.000014"),
    ]


def test_people_read_a_table_with_the_rule_that_decided(city: Database, tmp_path: Path) -> None:
    run(city, 0)
    english, chinese = replayed(tmp_path, "0.25"), replayed(tmp_path, "0.25", lang="zh")
    assert "1 of 1 records differ" in english.stdout
    assert "the programme's general rate" in english.stdout
    assert "1 条记录中 1 条有变化" in chinese.stdout


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("from", "2026-13-01", "such as 2026-10-01"), ("to", "2026-03-01", "after --from"), ("data", "/nowhere", "no city")],
)
def test_what_is_not_allowed_is_said(city: Database, tmp_path: Path, option: str, value: str, says: str) -> None:
    result = replayed(tmp_path, "0.25", **{option: value})
    assert result.exit_code != 0
    assert says in str(result.exception)
