"""The ledger's feed: every record once, in order, and exactly the text that was hashed."""

import json
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import select, update

from scheduler.billing.journal import GENESIS, Head, canonical, verify
from scheduler.contract.cost import CostRecord
from scheduler.service.journal import stored
from scheduler.store.database import CITY
from scheduler.store.tables import CostRecordRow
from tests.api.test_registry import PROGRAMME
from tests.api.world import World, observed, problem


def _run_jobs(world: World, count: int) -> None:
    """Some jobs, one after the other, each with one cost line."""
    for number in range(count):
        _, run = world.start_job(name=f"job-{number}", contract="C-A")
        world.finish_job(run, 1000 + number)


def _feed(world: World, who: str = "ledger", **query: Any) -> Any:
    return world.get("/v1/cost-records", who, **query)


def test_an_empty_feed_ends_at_genesis(world: World) -> None:
    assert _feed(world) == {"records": [], "next": 0, "head_sequence": 0, "head_hash": GENESIS}
    assert _feed(world, after=7)["next"] == 7


def test_the_chain_verifies_from_the_http_json_alone(world: World) -> None:
    world.post("/v1/programmes", {"document": PROGRAMME}, "finance")
    _run_jobs(world, 3)
    page = _feed(world)
    head, broken = verify(Head(), page["records"])
    assert broken is None
    assert (head.sequence, head.hash) == (page["head_sequence"], page["head_hash"]) == (3, page["records"][-1]["hash"])
    assert page["next"] == 3
    for record in page["records"]:
        CostRecord.model_validate(record)
        assert [tag["programme"] for tag in record["eligibility"]] == ["shenzhen-training"]
        assert (record["tenant"], record["contract"], record["hardware_class"]) == ("a-corp", "C-A", "domestic")


def test_what_is_served_is_the_stored_text_to_the_byte(world: World) -> None:
    _run_jobs(world, 2)
    served = world.call("GET", "/v1/cost-records", "ledger")
    with world.city.database.read(CITY) as session:
        rows = [stored(row) for row in session.scalars(select(CostRecordRow).order_by(CostRecordRow.sequence))]
    assert served.headers["content-type"] == "application/json"
    assert served.text.startswith('{"records":[' + ",".join(row.served() for row in rows) + "],")
    without_hash = [{key: value for key, value in record.items() if key != "hash"} for record in served.json()["records"]]
    assert [canonical(record) for record in without_hash] == [row.payload for row in rows]


def test_reading_page_by_page_gives_the_same_as_reading_at_once(world: World) -> None:
    _run_jobs(world, 3)
    whole = _feed(world, "finance")
    records, after = [], 0
    for expected in (2, 1, 0):
        page = _feed(world, limit=2, after=after)
        assert len(page["records"]) == expected
        assert (page["head_sequence"], page["head_hash"]) == (whole["head_sequence"], whole["head_hash"])
        records += page["records"]
        after = page["next"]
    assert records == whole["records"]
    assert after == 3
    _, broken = verify(Head(1, records[0]["hash"]), _feed(world, after=1)["records"])
    assert broken is None


def test_a_record_changed_on_the_way_is_found(world: World) -> None:
    _run_jobs(world, 3)
    records = _feed(world)["records"]
    records[1] = {**records[1], "contracted_amount": "0.000001"}
    head, broken = verify(Head(), records)
    assert broken is not None
    assert (head.sequence, broken.sequence, broken.id) == (1, 2, records[1]["id"])


def test_the_records_of_a_job_are_those_of_the_feed(world: World) -> None:
    _run_jobs(world, 2)
    first, second = _feed(world)["records"]
    assert world.get(f"/v1/jobs/{second['job']}/costs", "tenant-a")["records"] == [second]
    assert first["job"] != second["job"]


def test_a_preempted_or_cancelled_run_is_charged_for_what_it_used(world: World) -> None:
    job, run = world.start_job()
    started = world.clock.now
    world.clock.advance(100)
    world.post(f"/v1/jobs/{job['id']}/cancel", {}, "tenant-a", 202)
    world.sync("sz-ascend", observed(run, "stopped", started_at=started.isoformat(), finished_at=world.clock.now.isoformat()))
    world.turn()
    (record,) = _feed(world)["records"]
    assert (record["card_seconds"], record["contracted_amount"]) == (800, "2.400000")  # 8 cards × 100 s × 10.8 an hour


def test_no_record_can_be_edited(world: World) -> None:
    _run_jobs(world, 1)
    before = _feed(world)
    with pytest.raises(Exception, match="append-only"), world.city.database.write(CITY) as session:
        session.execute(update(CostRecordRow).values(payload=json.dumps({})))
    assert _feed(world) == before


@pytest.mark.parametrize("query", ["after=-1", "after=x", f"after={2**63}", f"after={10**40}", "limit=0", "limit=201", "limit=1.5"])
def test_a_bad_cursor_is_refused(world: World, query: str) -> None:
    problem(world.call("GET", f"/v1/cost-records?{query}", "ledger"), 422, "invalid_request", query.partition("=")[0])


def test_the_facts_behind_a_record_are_served_as_they_were_hashed(world: World) -> None:
    _run_jobs(world, 1)
    (record,) = _feed(world)["records"]
    served = world.call("GET", f"/v1/cost-contexts/{record['context']}", "ledger")
    assert sha256(served.content).hexdigest() == record["context"]
    assert served.json()["facts"]["contract"]["id"] == "C-A"
    problem(world.call("GET", f"/v1/cost-contexts/{'0' * 64}", "ledger"), 404, "not_found")
    problem(world.call("GET", f"/v1/cost-contexts/{record['context']}", "tenant-b"), 403, "forbidden")
