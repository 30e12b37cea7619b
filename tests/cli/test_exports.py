"""`suanwang export`, `statements` and `claim-pack` on a data folder: whole files or none, and refusals that say what to do."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import pyarrow.parquet as parquet
import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from api.cli import export, journal, statements
from api.cli.errors import UsageProblemError
from api.exports import focus_files
from scheduler.store.database import Database
from tests.builders import city_database
from tests.service.test_retag import run
from tests.service.test_statements import quarter
from tests.store.databases import fresh_database


@pytest.fixture
def city(tmp_path: Path) -> Iterator[Database]:
    with fresh_database("sqlite", tmp_path) as database:
        yield city_database(database)


def focus(folder: Path, file: Path, **changes: str) -> Result:
    options = {"from": "2026-10", "to": "2026-12", "format": "csv", "data": str(folder), "out": str(file), **changes}
    return call(export.app, "focus", **options)


def call(app: Typer, *arguments: str, **options: str) -> Result:
    given = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
    return CliRunner().invoke(app, [*arguments, *given])


def command(function: Any) -> Typer:
    app = Typer()
    app.command()(function)
    return app


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_months_are_the_records_of_their_statements_in_order(city: Database, tmp_path: Path) -> None:
    records, out = quarter(city), tmp_path / "focus.csv"
    result = focus(tmp_path, out)
    assert result.exit_code == 0
    assert "of at most" not in result.stderr  # it took no two seconds
    lines = rows(out)
    assert f"{len(lines)} records of 2026-10 until 2026-12" in result.stdout
    months = {"2026-10": "2026-10-31T16:00:00Z", "2026-11": "2026-11-30T16:00:00Z"}
    assert [line["BillingPeriodEnd"] for line in lines] == sorted(months[line["x_StatementMonth"]] for line in lines)
    assert [line["x_RecordId"] for line in lines] == [record["id"] for record in records[: len(lines)]]
    assert {line["BillingAccountName"] for line in lines} == {"acme", "uni"}
    assert {line["RegionId"] for line in lines} == {"shenzhen"}


def test_parquet_and_csv_and_every_statement_sum_to_the_same(city: Database, tmp_path: Path) -> None:
    quarter(city)
    focus(tmp_path, tmp_path / "f.csv", tenant="acme")
    focus(tmp_path, tmp_path / "f.parquet", tenant="acme", format="parquet")
    billed = sum(Decimal(line["BilledCost"]) for line in rows(tmp_path / "f.csv"))
    assert sum(parquet.read_table(tmp_path / "f.parquet")["BilledCost"].to_pylist()) == billed
    stated = Decimal(0)
    for month in ("2026-10", "2026-11"):
        out = tmp_path / f"{month}.json"
        made = call(command(statements.statements), month, tenant="acme", format="json", data=str(tmp_path), out=str(out))
        assert made.exit_code == 0
        stated += Decimal(json.loads(out.read_text("utf-8"))["totals"]["contracted_amount"])
    assert stated == billed > 0


def test_what_is_asked_for_is_what_is_exported(city: Database, tmp_path: Path) -> None:
    quarter(city)
    out = tmp_path / "f.csv"
    for option, value, column in (("tenant", "uni", "BillingAccountId"), ("provider", "p-sz", "x_ProviderId")):
        focus(tmp_path, out, **{option: value})
        assert {line[column] for line in rows(out)} == {value}
    focus(tmp_path, out, provider="p-hz")
    assert rows(out) == []


def test_the_same_journal_makes_the_same_bytes_by_folder_and_by_database(city: Database, tmp_path: Path) -> None:
    quarter(city)
    for form in ("csv", "parquet"):
        once, again = tmp_path / f"1.{form}", tmp_path / f"2.{form}"
        focus(tmp_path, once, format=form)
        options = {"from": "2026-10", "to": "2026-12", "format": form, "database": city.url, "out": str(again)}
        assert call(export.app, "focus", **options).exit_code == 0
        assert once.read_bytes() == again.read_bytes()
        (tmp_path / "url").write_text(f"{city.url}\n")
        del options["database"]
        assert call(export.app, "focus", **options, **{"database-file": str(tmp_path / "url")}).exit_code == 0
        assert once.read_bytes() == again.read_bytes()


def test_a_long_export_says_how_far_it_is(city: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quarter(city)
    monkeypatch.setattr(journal, "QUIET_SECONDS", 0.0)
    assert "of at most" in focus(tmp_path, tmp_path / "f.csv").stderr


def test_a_month_whose_books_are_open_is_said_to_be(city: Database, tmp_path: Path) -> None:
    this = datetime.now(UTC)
    following = (this.replace(day=1) + timedelta(days=63)).strftime("%Y-%m")
    result = focus(tmp_path, tmp_path / "f.csv", **{"from": this.strftime("%Y-%m"), "to": following})
    assert "what is posted until then is not in it" in result.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"from": "2026-1"}, "--from: '2026-1' is not a month"),
        ({"to": "2026-10"}, "--to: a month after 2026-10"),
        ({"to": "2037-01"}, "at most 120 months"),
        ({"tenant": "nobody"}, "there is no tenant nobody"),
        ({"provider": "nobody"}, "there is no provider nobody"),
        ({"data": "/nowhere"}, "there is no city in /nowhere"),
        ({"out": "/nowhere/f.csv"}, "choose another --out"),
    ],
)
def test_what_is_not_allowed_is_said_and_nothing_is_written(
    city: Database, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    out = tmp_path / "f.csv"
    result = focus(tmp_path, out, **changes)
    assert isinstance(result.exception, UsageProblemError)
    assert says in str(result.exception)
    assert not out.exists()
    assert list(tmp_path.glob("*.part")) == []


def test_an_unknown_format_is_refused_with_those_there_are(city: Database, tmp_path: Path) -> None:
    result = focus(tmp_path, tmp_path / "f", format="xml")
    assert result.exit_code == 2
    assert "parquet" in result.stderr


def test_a_missing_package_is_named_and_leaves_the_old_file(
    city: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "f.parquet"
    out.write_text("old")
    monkeypatch.setattr(focus_files, "import_module", _missing)
    result = focus(tmp_path, out, format="parquet")
    assert "--format parquet: this needs pyarrow, which is not installed: pip install 'suanwang[exports]'" in str(result.exception)
    assert out.read_text() == "old"


def _missing(name: str) -> Any:
    raise ImportError(name)


def test_a_statement_as_a_page_and_as_a_workbook(city: Database, tmp_path: Path) -> None:
    quarter(city)
    options = {"tenant": "acme", "data": str(tmp_path), "lang": "zh"}
    page, book = tmp_path / "s.html", tmp_path / "s.xlsx"
    assert call(command(statements.statements), "2026-10", format="html", out=str(page), **options).exit_code == 0
    assert call(command(statements.statements), "2026-10", format="xlsx", out=str(book), by="model", **options).exit_code == 0
    assert "已结账" in page.read_text("utf-8")
    assert openpyxl.load_workbook(book).sheetnames == ["汇总", "明细"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("2026-13",), "YYYY-MM: '2026-13' is not a month"),
        (("2199-01",), "has not begun"),
        (("2026-10", "--tenant", "nobody"), "there is no tenant nobody"),
        (("2026-10", "--provider", "nobody"), "there is no provider nobody"),
    ],
)
def test_a_statement_that_cannot_be_is_refused(city: Database, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    result = call(command(statements.statements), *arguments, data=str(tmp_path), out=str(tmp_path / "s.html"))
    assert says in str(result.exception)


def test_a_claim_pack_of_a_contracts_year(city: Database, tmp_path: Path) -> None:
    run(city, 0)
    run(city, 1)
    claim = {"contract": "C-1", "programme": "shenzhen-training", "year": "2026", "data": str(tmp_path)}
    packs = [tmp_path / "1.zip", tmp_path / "2.zip"]
    for path in packs:
        assert "2 records" in call(command(statements.claim_pack), out=str(path), **claim).stdout
    assert packs[0].read_bytes() == packs[1].read_bytes()
    with ZipFile(packs[0]) as archive:
        assert archive.testzip() is None
        assert {"MANIFEST.sha256", "evidence.csv", "lines.csv", "rules.csv", "summary.json"} < set(archive.namelist())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        summary = json.loads(archive.read("summary.json"))
    assert [(row["status"], row["records"], row["capped"]) for row in summary["sums"]] == [("eligible", 2, "80.000056")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "give either --application"),
        ({"application": "A", "contract": "C-1"}, "give either --application"),
        ({"contract": "C-1", "programme": "shenzhen-training"}, "all of --contract, --programme and --year"),
        ({"application": "A"}, "--tenant: say whose"),
        ({"application": "A", "tenant": "acme"}, "no cost record belongs to this claim"),
        ({"contract": "C-9", "programme": "shenzhen-training", "year": "2026"}, "there is no contract C-9"),
        ({"contract": "C-1", "programme": "nothing", "year": "2026"}, "there is no programme nothing"),
    ],
)
def test_a_claim_that_cannot_be_is_refused(city: Database, tmp_path: Path, options: dict[str, str], says: str) -> None:
    out = tmp_path / "c.zip"
    result = call(command(statements.claim_pack), data=str(tmp_path), out=str(out), **options)
    assert says in str(result.exception)
    assert not out.exists()
