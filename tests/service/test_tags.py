"""Several programmes on one contract in the living city: all answer, one is selected, and who must be alone on a contract is."""

import json
from typing import Any

from sqlalchemy import select

from scheduler.contract.cost import CostRecord
from scheduler.store.database import CITY, Database
from scheduler.store.tables import ClaimUseRow
from scheduler.subsidy.replay import tags_again
from tests.builders import add_participants, contract, contract_row, price_row, programme_document, programme_row
from tests.service.test_meter import records
from tests.service.test_retag import contexts, policies, replayed, run

ALONE = {"sole_on_contract": {"text": "no other subsidy for the same contract", "source": "measures", "confidence": "high"}}


def district(rate: str, **changes: Any) -> dict[str, Any]:
    """A second programme, for whoever has a contract in the city: the Shenzhen voucher's rules without its list of providers."""
    document: dict[str, Any] = json.loads(json.dumps(programme_document())) | {"programme": "district-top-up", **changes}
    document["requires"] = [each for each in document["requires"] if not each["fact"].startswith("provider.")]
    document["rates"] = [{**document["rates"][-1], "rate": rate}]
    return document


def city_with(database: Database, *documents: dict[str, Any]) -> None:
    with database.write(CITY) as session:
        add_participants(session)
        session.add_all([price_row("sz", "910B3", "10"), contract_row(contract()), contract_row(contract("C-2"))])
        session.add_all([programme_row(), *(programme_row(document) for document in documents)])


def selected(record: CostRecord) -> str | None:
    return next((tag.programme for tag in record.eligibility if tag.selected), None)


def codes(record: CostRecord, programme: str) -> list[str]:
    return next(tag.reason_codes for tag in record.eligibility if tag.programme == programme)


def test_the_highest_estimate_is_selected_and_the_others_are_shown(database: Database) -> None:
    city_with(database, district("0.20"))
    run(database, 0)
    [line] = records(database)
    assert [(tag.programme, tag.capped, tag.selected) for tag in line.eligibility] == [
        ("district-top-up", "16.000000", False),
        ("shenzhen-training", "40.000000", True),
    ]
    with database.read(CITY) as session:
        assert [(row.contract_id, row.programme, row.used_micros) for row in session.scalars(select(ClaimUseRow))] == [
            ("C-1", "shenzhen-training", 40_000_000)
        ]


def test_who_must_be_alone_on_a_contract_bars_all_others_from_it_and_is_barred_by_any(database: Database) -> None:
    """The first to claim has the contract: the one that must be alone on C-1, where it was applied for; the other on C-2."""
    city_with(database, district("0.20", **ALONE))
    applied = {"programme": "district-top-up"}
    for hour, (named, voucher) in enumerate([("C-1", applied), ("C-1", None), ("C-2", None), ("C-2", applied)]):
        run(database, hour, voucher=voucher, contract=named)
    lines = records(database)
    assert [selected(line) for line in lines] == ["district-top-up", "district-top-up", "shenzhen-training", None]
    assert "contract_claimed_elsewhere" in codes(lines[1], "shenzhen-training")
    assert "contract_claimed_elsewhere" in codes(lines[3], "district-top-up")
    known, versions = contexts(database), policies(database)
    assert [tags_again(line, known[line.context], versions) for line in lines] == [line.eligibility for line in lines]
    for policy in versions.values():
        assert replayed(database, policy)[1] == []


def test_what_is_paid_on_a_claim_at_most_holds_over_all_lines_of_a_contract(database: Database) -> None:
    limit = {"amount": "25.000000", "text": "at most 25 a claim", "source": "measures", "confidence": "high"}
    city_with(database, district("0.20", claim_cap=limit))
    for hour in range(3):
        run(database, hour, voucher={"programme": "district-top-up"})
    tags = [next(tag for tag in line.eligibility if tag.programme == "district-top-up") for line in records(database)]
    assert [(tag.capped, tag.claim_remaining_before) for tag in tags] == [
        ("16.000000", "25.000000"),
        ("9.000000", "9.000000"),
        ("0.000000", "0.000000"),
    ]
