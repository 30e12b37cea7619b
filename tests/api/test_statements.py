"""Statements and claim packs over HTTP: whose they are, in which form, and what is refused."""

import csv
import json
import sys
from datetime import timedelta
from hashlib import sha256
from io import BytesIO, StringIO
from typing import Any
from zipfile import ZipFile

import pytest

from api.exports.statement_xlsx import MEDIA_TYPE as XLSX
from api.routers import statements
from scheduler.billing import statement as statement_module
from scheduler.billing.claim_pack import MANIFEST
from scheduler.billing.journal import canonical
from scheduler.domain.money import format_cny, parse_cny
from tests.api.test_registry import PROGRAMME
from tests.api.world import World, problem

NOVEMBER = "/v1/statements/2026-11"
APPLICATION = "/v1/applications/A-77/claim-pack"
CONTRACT = "/v1/contracts/C-A/claim-packs/shenzhen-training/2026"


def run_jobs(world: World) -> list[dict[str, Any]]:
    """Three jobs of a-corp, two under the application A-77, and the records they left."""
    world.post("/v1/programmes", {"document": PROGRAMME}, "finance")
    for number in range(3):
        voucher = {"programme": "shenzhen-training", "application": "A-77"} if number < 2 else None
        _, run = world.start_job(name=f"job-{number}", contract="C-A", voucher=voucher)
        world.finish_job(run, 1000 + number)
    records: list[dict[str, Any]] = world.get("/v1/cost-records", "ledger")["records"]
    return records


def total(records: list[dict[str, Any]], key: str) -> str:
    return format_cny(sum(parse_cny(record[key]) for record in records))


def test_a_tenant_gets_its_own_statement_and_finance_anybodys(world: World) -> None:
    records = run_jobs(world)
    own = world.get(NOVEMBER, "tenant-a")
    assert own["tenant"]["id"] == "a-corp"
    assert own["totals"]["contracted_amount"] == total(records, "contracted_amount")
    assert own["totals"]["voucher_estimate"] == total(records, "voucher_estimate")
    assert {line["job_name"] for line in own["accounts"][0]["lines"]} == {"job-0", "job-1", "job-2"}
    assert world.get(NOVEMBER, "tenant-a", tenant="a-corp") == own
    assert world.get(NOVEMBER, "finance", tenant="a-corp") == own
    assert world.get(NOVEMBER, "finance", provider="p-ascend")["totals"] == own["totals"]
    assert world.get(NOVEMBER, "finance", provider="p-nvidia")["accounts"] == []
    assert world.get(NOVEMBER, "tenant-b")["accounts"] == []
    assert world.get(NOVEMBER, "finance", by="model")["accounts"][0]["lines"][0]["records"] == len(records)


def test_a_statement_can_be_added_up_again_from_the_feed(world: World) -> None:
    records = run_jobs(world)
    journal = world.get(NOVEMBER, "tenant-a")["journal"]
    page = world.get("/v1/cost-records", "ledger")
    assert journal["records_sha256"] == sha256("".join(record["hash"] for record in records).encode()).hexdigest()
    assert (journal["first_sequence"], journal["last_sequence"], journal["records"]) == (1, len(records), len(records))
    assert (journal["read_until"], journal["head_hash"]) == (page["head_sequence"], page["head_hash"])


def test_what_the_ledger_settled_stands_beside_the_estimate_by_the_latest_revision(world: World) -> None:
    records = run_jobs(world)
    before = world.get(NOVEMBER, "tenant-a")["totals"]
    assert before["voucher_settled"] is None
    for id_, record, revision, amount in (("S-1", 0, 1, "7"), ("S-2", 0, 2, "6.5"), ("S-3", 1, 1, "1")):
        decided = {"decision": "approved", "settled_on": "2026-12-01", "programme": "shenzhen-training", "amount": amount}
        body = {"id": id_, "record": records[record]["id"], "revision": revision, **decided}
        assert world.call("POST", "/v1/settlements", "ledger", json=body).status_code == 201
    after = world.get(NOVEMBER, "tenant-a")
    assert after["totals"] == {**before, "voucher_settled": "7.500000"}  # nothing else has moved
    assert sum(parse_cny(voucher["settled"] or "0") for voucher in after["vouchers"]) == 7_500_000


def test_another_tenants_is_as_absent_as_one_that_never_was(world: World) -> None:
    run_jobs(world)
    for tenant in ("a-corp", "nobody"):
        problem(world.call("GET", f"{NOVEMBER}?tenant={tenant}", "tenant-b"), 404, "not_found")
        problem(world.call("GET", f"{APPLICATION}?tenant={tenant}", "tenant-b"), 404, "not_found")
    problem(world.call("GET", f"{NOVEMBER}?tenant=nobody", "finance"), 404, "not_found")
    problem(world.call("GET", f"{NOVEMBER}?provider=nobody", "finance"), 404, "not_found")
    problem(world.call("GET", CONTRACT, "tenant-b"), 404, "not_found")
    problem(world.call("GET", APPLICATION, "tenant-b"), 404, "nothing_claimed")


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "2026", "november", "2026-11-01", "1999-01"])
def test_a_bad_month_is_refused(world: World, month: str) -> None:
    problem(world.call("GET", f"/v1/statements/{month}", "tenant-a"), 422, "invalid_request", "month")


@pytest.mark.parametrize(("query", "field"), [("by=week", "by"), ("tenant=%3D1", "tenant"), ("provider=", "provider")])
def test_a_bad_question_is_refused_by_field(world: World, query: str, field: str) -> None:
    problem(world.call("GET", f"{NOVEMBER}?{query}", "finance"), 422, "invalid_request", field)


def test_a_month_to_come_has_no_statement(world: World) -> None:
    problem(world.call("GET", "/v1/statements/2026-12", "tenant-a"), 422, "month_not_begun")
    world.clock.advance(timedelta(days=10).total_seconds())
    assert world.get("/v1/statements/2026-12", "tenant-a")["state"] == "open"
    assert world.get(NOVEMBER, "tenant-a")["state"] == "open"
    world.clock.advance(timedelta(days=4).total_seconds())
    assert world.get(NOVEMBER, "tenant-a")["state"] == "closed"


def test_the_form_is_what_is_accepted_in_the_language_that_is_asked_for(world: World) -> None:
    run_jobs(world)
    page = world.call("GET", NOVEMBER, "tenant-a", headers={"Accept": "text/html", "Accept-Language": "zh-CN"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "算力服务月度对账单" in page.text
    assert world.call("GET", NOVEMBER, "tenant-a", headers={"Accept": "image/png"}).json()["month"] == "2026-11"
    assert page.headers["vary"] == "Accept, Accept-Language"


def test_a_workbook_is_saved_under_a_name(world: World) -> None:
    pytest.importorskip("xlsxwriter")
    book = world.call("GET", NOVEMBER, "tenant-a", headers={"Accept": XLSX})
    assert book.headers["content-disposition"] == 'attachment; filename="statement-2026-11-a-corp.xlsx"'
    assert book.content[:2] == b"PK"


def test_a_form_whose_package_is_missing_is_said_to_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    refused = world.call("GET", NOVEMBER, "tenant-a", headers={"Accept": XLSX})
    assert "suanwang[exports]" in problem(refused, 501, "export_not_installed").detail


def test_what_is_too_large_to_wait_for_is_refused_with_the_way_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_jobs(world)
    monkeypatch.setattr(statement_module, "MAX_LINES", 2)
    assert "by=model" in problem(world.call("GET", NOVEMBER, "tenant-a"), 422, "statement_too_large").detail
    monkeypatch.setattr(statements, "MAX_RECORDS", 2)
    problem(world.call("GET", f"{NOVEMBER}?by=model", "tenant-a"), 422, "statement_too_large")
    assert world.get(NOVEMBER, "tenant-b")["accounts"] == []  # only its own records count
    monkeypatch.setattr(statements, "MAX_CLAIM_RECORDS", 1)
    problem(world.call("GET", APPLICATION, "tenant-a"), 422, "claim_too_large")


def pack(world: World, path: str, who: str = "tenant-a") -> dict[str, bytes]:
    response = world.call("GET", path, who)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    assert int(response.headers["content-length"]) == len(response.content)
    with ZipFile(BytesIO(response.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def table(files: dict[str, bytes], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(files[name].decode("utf-8-sig"))))


def test_an_applications_pack_has_its_lines_and_all_they_rest_on(world: World) -> None:
    records = run_jobs(world)[:2]
    files = pack(world, APPLICATION)
    lines = table(files, "lines.csv")
    assert [line["record"] for line in lines] == [record["id"] for record in records]
    assert [line["capped"] for line in lines] == [record["eligibility"][0]["capped"] for record in records]
    assert all(line["reasons_zh"] and line["reasons_en"] for line in lines)
    evidence = table(files, "evidence.csv")
    assert [row["devices"].split(";") for row in evidence] == [record["devices"] for record in records]
    assert [row["hash"] for row in evidence] == [record["hash"] for record in records]
    for text, record in zip(files["records.ndjson"].decode().splitlines(), records, strict=True):
        shown = json.loads(text)
        assert shown == record
        assert sha256(canonical({k: v for k, v in shown.items() if k != "hash"}).encode()).hexdigest() == record["hash"]
    for record in records:
        assert sha256(files[f"facts/{record['context']}.json"]).hexdigest() == record["context"]
    assert json.loads(files["policies/shenzhen-training-2024.json"])["programme"] == "shenzhen-training"
    assert [contract["id"] for contract in json.loads(files["contracts.json"])] == ["C-A"]
    summary = json.loads(files["summary.json"])
    assert sum(parse_cny(row["capped"]) for row in summary["sums"]) == sum(parse_cny(line["capped"]) for line in lines)
    assert any(row["code"] == "activity_not_covered" and row["text_zh"] and row["source"] for row in table(files, "rules.csv"))


def test_the_manifest_has_the_sum_of_every_file(world: World) -> None:
    run_jobs(world)
    files = pack(world, APPLICATION)
    lines = [line.split("  ") for line in files[MANIFEST].decode().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sums == {name: sha256(body).hexdigest() for name, body in files.items() if name != MANIFEST}
    assert list(files) == [*sorted(sums), MANIFEST]


def test_the_same_claim_makes_the_same_bytes_for_whoever_asks(world: World) -> None:
    run_jobs(world)
    once = world.call("GET", APPLICATION, "tenant-a").content
    world.clock.advance(3600)
    assert world.call("GET", APPLICATION, "tenant-a").content == once
    assert world.call("GET", f"{APPLICATION}?tenant=a-corp", "finance").content == once


def test_a_contracts_year_is_every_line_of_it(world: World) -> None:
    records = run_jobs(world)
    assert [line["record"] for line in table(pack(world, CONTRACT, "finance"), "lines.csv")] == [record["id"] for record in records]
    assert pack(world, CONTRACT).keys() == pack(world, CONTRACT, "finance").keys()


def test_a_claim_nobody_made_is_told_from_one_that_is_asked_for_wrongly(world: World) -> None:
    run_jobs(world)
    problem(world.call("GET", APPLICATION, "finance"), 422, "tenant_needed")
    problem(world.call("GET", "/v1/applications/A-78/claim-pack", "tenant-a"), 404, "nothing_claimed")
    problem(world.call("GET", CONTRACT.replace("2026", "2025"), "tenant-a"), 404, "nothing_claimed")
    problem(world.call("GET", CONTRACT.replace("C-A", "C-Z"), "finance"), 404, "not_found")
    problem(world.call("GET", CONTRACT.replace("shenzhen-training", "no-such"), "finance"), 404, "not_found")
    problem(world.call("GET", CONTRACT.replace("2026", "1999"), "finance"), 422, "invalid_request", "year")
    problem(world.call("GET", "/v1/applications/=1/claim-pack", "tenant-a"), 422, "invalid_request", "application")
