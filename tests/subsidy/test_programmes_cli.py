"""`suanwang programmes`: the JSON other programs rely on, words for people, and one clear message for bad input."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from api.cli.programmes import app

from .cases import GOLDEN, document

TAG_KEYS = {"programme", "version", "status", "reason_codes", "base", "rate", "uncapped", "capped", "selected"}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "case.yaml"


def test_json_has_the_agreed_keys() -> None:
    answer = json.loads(run("evaluate", GOLDEN / "base.yaml", "--json").stdout)
    assert set(answer) == {"lines", "totals", "selected"}
    (line,) = answer["lines"]
    assert {"index", "item", "amount", "tags"} <= set(line)
    assert set(line["tags"][0]) >= TAG_KEYS
    assert answer["totals"] == {
        "shenzhen-training": {"capped": "1500000.000000", "uncapped": "1500000.000000", "status": "eligible"}
    }
    assert answer["selected"] == {"shenzhen-training": "1500000.000000"}


@pytest.mark.parametrize(("language", "words"), [("en", ["eligible", "general rate"]), ("zh", ["符合", "一般补贴比例"])])
def test_people_read_amounts_whole_and_reasons_in_words(language: str, words: list[str]) -> None:
    shown = run("evaluate", GOLDEN / "base.yaml", "--lang", language)
    assert shown.exit_code == 0
    for word in ("1500000.00", "shenzhen-training", *words):
        assert word in shown.stdout


def test_what_is_missing_is_named(written: Path) -> None:
    written.write_text(yaml.safe_dump(document({"applicant.startup": None})), "utf-8")
    assert "facts a rule needs are not known: applicant.startup" in " ".join(run("evaluate", written).stdout.split())


def test_a_policy_file_takes_the_place_of_its_programme(written: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "scheduler/subsidy/programmes/shenzhen-training/2024.yaml"
    lowered = tmp_path / "policy.yaml"
    lowered.write_text(
        shipped.read_text("utf-8").replace('rate: "0.50"', 'rate: "0.10"').replace('version: "2024"', "version: mine")
    )
    written.write_text(yaml.safe_dump(document({"version": None})), "utf-8")
    answer = json.loads(run("evaluate", written, "--json", "--policy", lowered).stdout)
    assert answer["lines"][0]["tags"][0]["version"] == "mine"
    assert answer["selected"] == {"shenzhen-training": "300000.000000"}


def test_list_names_every_version() -> None:
    shown = run("list").stdout
    assert all(word in shown for word in ("shenzhen-training", "2026-guide", "hangzhou-compute"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lines.0.amount": "1.1234567"}, "lines[0].amount: '1.1234567' is not an amount"),
        ({"lines.0.amount": "NaN"}, "lines[0].amount: 'NaN' is not an amount"),
        ({"lines.0.amount": 1e30}, "lines[0].amount: an amount is a decimal string in quotes"),
        ({"applicant.uscc": "91440300MA5EXAMP0D"}, "applicant.uscc: not a unified social credit code"),
        ({"contract.end": "2024-01-01"}, "contract: end may not be before start"),
        ({"contract.colour": "red"}, "contract.colour: unknown key"),
        ({"programme": "atlantis"}, "programme: 'atlantis' is not known; allowed: all"),
        ({"lines": "none"}, "lines: "),
    ],
)
def test_bad_input_is_one_message_and_exit_2(written: Path, changes: dict[str, Any], message: str) -> None:
    bad = document({key: value for key, value in changes.items() if key != "lines"})
    bad.update({key: value for key, value in changes.items() if key == "lines"})
    written.write_text(yaml.safe_dump(bad), "utf-8")
    check_refused(run("evaluate", written), f"{written}: {message}")


@pytest.mark.parametrize("text", ["", "- 1", "{", "a: 1\na: 2", "on: 2025-13-45", "\x00", "a: &a [*a]"])
def test_what_is_no_case_at_all_is_one_message_and_exit_2(written: Path, text: str) -> None:
    written.write_text(text, "utf-8")
    check_refused(run("evaluate", written), f"{written}: ")


def test_a_bad_policy_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "policy.yaml"
    bad.write_text("programme: x\nrates: [{rate: '1.5'}]\n", "utf-8")
    check_refused(run("evaluate", GOLDEN / "base.yaml", "--policy", bad), f"{bad}: ")


def test_a_file_that_cannot_be_read_is_one_message_and_exit_2(tmp_path: Path) -> None:
    check_refused(run("evaluate", tmp_path / "absent.yaml"), "No such file")
    check_refused(run("evaluate", tmp_path), "directory")


def check_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
