"""`suanwang programmes`: the JSON other programs rely on, words for people, and one clear message for bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import scheduler.subsidy
from api.cli.programmes import app
from scheduler.subsidy.trace import MAX_TRACED_LINES

from .cases import GOLDEN, document
from .test_programme import CAP, policy, rate, rule

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
    answer = json.loads(run("evaluate", written, "--json", "--programme", lowered).stdout)
    assert answer["lines"][0]["tags"][0]["version"] == "mine"
    assert answer["selected"] == {"shenzhen-training": "300000.000000"}


def test_an_own_file_decides_whether_adopted_or_not(written: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text(yaml.safe_dump(policy(adopted=False)), "utf-8")
    written.write_text(yaml.safe_dump(document({"programme": "test-compute", "version": None})), "utf-8")
    answer = json.loads(run("evaluate", written, "--json", "--programme", draft).stdout)
    assert answer["selected"] == {"test-compute": "100.000000"}


def test_json_says_of_every_tag_how_it_came_about() -> None:
    (tag,) = json.loads(run("evaluate", GOLDEN / "base.yaml", "--json").stdout)["lines"][0]["tags"]
    assert [step["kind"] for step in tag["trace"]][0 :: len(tag["trace"]) - 1] == ["version", "result"]
    rule = next(step for step in tag["trace"] if step.get("fact") == "provider.affiliated")
    assert rule["words"] == "与服务机构无关联关系"
    assert {"code", "found", "asked", "holds", "source", "confidence", "en", "zh"} <= set(rule)


def test_a_case_of_many_lines_has_the_steps_of_its_first(written: Path) -> None:
    line = document()["lines"][0]
    written.write_text(yaml.safe_dump({**document(), "lines": [{**line, "amount": "1.00"}] * (MAX_TRACED_LINES + 1)}), "utf-8")
    lines = json.loads(run("evaluate", written, "--json").stdout)["lines"]
    assert ["trace" in each["tags"][0] for each in lines] == [True] * MAX_TRACED_LINES + [False]
    assert run("evaluate", written, "--explain").exit_code == 0


@pytest.mark.parametrize(
    ("language", "words"), [("en", "provider.affiliated: no (asked: no)"), ("zh", "provider.affiliated:否(要求:否)")]
)
def test_people_read_the_steps_where_they_ask(language: str, words: str) -> None:
    assert words not in run("evaluate", GOLDEN / "base.yaml", "--lang", language).stdout
    assert words in " ".join(run("evaluate", GOLDEN / "base.yaml", "--explain", "--lang", language).stdout.split())


def test_what_is_no_cost_of_a_job_is_answered(written: Path) -> None:
    written.write_text(yaml.safe_dump(document({"programme": "shanghai-interest-discount", "version": None})), "utf-8")
    answer = json.loads(run("evaluate", written, "--json").stdout)
    assert answer["totals"]["shanghai-interest-discount"]["status"] == "not_in_scope"
    assert "it is claimed elsewhere" in " ".join(run("evaluate", written).stdout.split())


def test_list_names_every_version() -> None:
    shown = run("list").stdout
    assert all(word in shown for word in ("shenzhen-training", "2026-guide", "hangzhou-compute", "guizhou-compute"))


@pytest.mark.parametrize("noun", ["programme", "case"])
def test_schema_prints_the_published_schema(noun: str) -> None:
    assert run("schema", noun).stdout == (Path(__file__).parents[2] / "docs" / "schema" / f"{noun}.json").read_text("utf-8")


BAD_CASES = [
    ({"lines.0.amount": "1.1234567"}, "lines[0].amount: '1.1234567' is not an amount", "amount_too_precise", "最多允许 6 位"),
    ({"contract.amount": "3000000.0000000"}, "contract.amount: '3000000.0000000' is not", "amount_too_precise", "7 位小数"),
    ({"contract.amount": "NaN"}, "contract.amount: 'NaN' is not an amount", "amount_not_finite", "须为数值"),
    ({"contract.amount": "1e6"}, "contract.amount: '1e6' is not an amount", "amount_with_exponent", "科学计数法"),
    ({"contract.amount": "-1"}, "contract.amount: '-1' is below zero", "amount_negative", "小于零"),
    ({"contract.amount": "1000000001"}, "contract.amount: '1000000001' is more than", "amount_too_large", "上限"),
    ({"lines.0.amount": 1e30}, "lines[0].amount: an amount is a decimal string in quotes", "amount_not_text", "带引号"),
    ({"applicant.uscc": "91440300MA5EXAMP0D"}, "applicant.uscc: not a unified social credit code", "uscc_check_digit", "校验码"),
    ({"provider.uscc": "91440300"}, "provider.uscc: not a unified social credit code: 18", "uscc_malformed", "18 位"),
    ({"contract.end": "2024-01-01"}, "contract: end may not be before start", "dates_reversed", "不得早于"),
    ({"on": "2025-13-01"}, "on: a day such as", "day_malformed", "须为日期"),
    ({"contract.colour": "red"}, "contract.colour: unknown key", "unknown_key", "未知字段"),
    (
        {"programme": "atlantis", "version": None},
        "programme: 'atlantis' is not known; allowed: all",
        "programme_unknown",
        "未知的补贴项目",
    ),
    ({"version": "1999"}, "version: shenzhen-training has no version '1999'", "version_unknown", "没有可据以判定的版本"),
    ({"lines": "none"}, "lines: ", "wrong_type", "须为列表"),
]


@pytest.mark.parametrize(("changes", "message", "code", "zh"), BAD_CASES)
def test_a_bad_case_is_one_message_with_its_code_and_exit_2(
    written: Path, changes: dict[str, Any], message: str, code: str, zh: str
) -> None:
    bad = document({key: value for key, value in changes.items() if key != "lines"})
    bad.update({key: value for key, value in changes.items() if key == "lines"})
    written.write_text(yaml.safe_dump(bad), "utf-8")
    check_refused(run("evaluate", written), f"{written}: {message}", f"[{code}]")
    check_refused(run("evaluate", written, "--lang", "zh"), str(written), zh, f"[{code}]")


@pytest.mark.parametrize("text", ["", "- 1", "{", "a: 1\na: 2", "on: 2025-13-45", "\x00", "a: &a [*a]"])
def test_what_is_no_case_at_all_is_one_message_and_exit_2(written: Path, text: str) -> None:
    written.write_text(text, "utf-8")
    check_refused(run("evaluate", written), f"{written}: ")


def test_a_bad_policy_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "policy.yaml"
    bad.write_text("programme: x\nrates: [{rate: '1.5'}]\n", "utf-8")
    check_refused(run("evaluate", GOLDEN / "base.yaml", "--programme", bad), f"{bad}: ")


def test_a_file_that_cannot_be_read_is_one_message_and_exit_2(tmp_path: Path) -> None:
    check_refused(run("evaluate", tmp_path / "absent.yaml"), "No such file")
    check_refused(run("evaluate", tmp_path), "directory")


def check_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert all(part in result.stderr for part in parts)
    assert len(result.stderr.splitlines()) == 1


# What `check` says of policy files.


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Path]]:
    def write(*documents: dict[str, Any]) -> list[Path]:
        paths = [tmp_path / f"{number}.yaml" for number in range(len(documents))]
        for path, content in zip(paths, documents, strict=True):
            path.write_text(yaml.safe_dump(content), "utf-8")
        return paths

    return write


def test_check_passes_every_shipped_version() -> None:
    shipped = sorted((Path(scheduler.subsidy.__file__).parent / "programmes").rglob("*.yaml"))
    checked = run("check", *shipped)
    assert checked.exit_code == 0
    assert len(checked.stdout.splitlines()) == len(shipped)


BAD_POLICIES = [
    (policy(discount="0.1"), "discount: unknown key", "unknown_key", "未知字段"),
    (rate(rate="1.01"), "rates[0].rate: '1.01' is more than the whole", "rate_above_one", "大于 1"),
    (rate(rate="-0.01"), "rates[0].rate: '-0.01' is below zero", "rate_below_zero", "小于零"),
    (rate(rate=0.5), "rates[0].rate: a rate is a decimal string in quotes", "rate_malformed", "带引号"),
    (policy(cap={**CAP, "amount": "-1.00"}), "cap.amount: '-1.00' is below zero", "amount_negative", "小于零"),
    (
        policy(valid_until="2024-12-31"),
        ": valid_until may not be before valid_from",
        "dates_reversed",
        "valid_until 不得早于 valid_from",
    ),
    (
        rule(fact="applicant.shoe_size", at_least=40),
        "requires[0].fact: 'applicant.shoe_size' is not a fact",
        "fact_unknown",
        "事实",
    ),
    (rate(code="rate_secret"), "rates[0].code: 'rate_secret' is not a registered reason code", "reason_code_unknown", "原因码"),
    (policy(version=2024), "version: ", "wrong_type", "须为字符串"),
    ({"programme": "x"}, "version: required, but not given", "missing_key", "缺少该字段"),
]


@pytest.mark.parametrize(("bad", "message", "code", "zh"), BAD_POLICIES)
def test_each_fault_of_a_policy_has_its_code_and_message(
    files: Callable[..., list[Path]], bad: dict[str, Any], message: str, code: str, zh: str
) -> None:
    paths = files(bad)
    english, chinese = run("check", *paths), run("check", *paths, "--lang", "zh")
    assert (english.exit_code, chinese.exit_code, english.stdout) == (2, 2, "")
    assert any(message in line and f"[{code}]" in line and line.startswith(str(paths[0])) for line in english.stderr.splitlines())
    assert any(zh in line and f"[{code}]" in line for line in chinese.stderr.splitlines())


def test_check_names_every_fault_of_every_file(files: Callable[..., list[Path]]) -> None:
    good, first, second = files(policy(), {**rate(rate="2"), "discount": "0.1"}, policy(valid_from="soon"))
    checked = run("check", good, first, second)
    assert checked.exit_code == 2
    assert checked.stdout.splitlines() == [f"{good}: test-compute 1 ✓"]
    assert [line.partition(": ")[0] for line in checked.stderr.splitlines()] == [str(first), str(first), str(second)]


def test_check_refuses_versions_that_overlap_each_other_or_a_shipped_one(files: Callable[..., list[Path]]) -> None:
    one, other = files(policy(), policy(version="2", valid_from="2025-12-31", valid_until=None))
    check_overlap(run("check", one, other), f"{other}: valid_from: test-compute 1 and 2 would both decide on 2025-12-31")
    (early,) = files(policy(programme="shenzhen-training", version="mine", valid_from="2026-01-01", valid_until=None))
    check_overlap(run("check", early), f"{early}: valid_from: shenzhen-training 2024 and mine would both decide on 2026-01-01")
    (said,) = files(
        policy(programme="shenzhen-training", version="mine", valid_from="2026-01-01", valid_until=None, supersedes="2024")
    )
    assert run("check", said).exit_code == 0


def check_overlap(checked: Result, message: str) -> None:
    assert checked.exit_code == 2
    assert message in checked.stderr
    assert "[versions_overlap]" in checked.stderr


def test_check_refuses_one_version_with_two_contents(files: Callable[..., list[Path]]) -> None:
    one, other = files(policy(), policy(confidence="high"))
    assert f"{other}: version: test-compute 1 is given twice with different content" in run("check", one, other).stderr
    assert run("check", one, one).exit_code == 0
