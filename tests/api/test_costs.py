"""The ledger's feed: every record once, in order, and exactly the text that was hashed."""

import json
from hashlib import sha256
from typing import Any

import httpx
import pytest
from httpx import Response
from sqlalchemy import select, update

from api.routers.costs import EVENT, EVENTS, MAX_PAGE, NDJSON
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


def _as(world: World, form: str, path: str = "/v1/cost-records", who: str = "ledger") -> Response:
    response = world.call("GET", path, who, headers={"Accept": form})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == form
    return response


def test_the_feed_line_by_line_is_the_feed(world: World) -> None:
    _run_jobs(world, 3)
    whole = _feed(world)
    lines, path = [], "/v1/cost-records?limit=2"
    for expected in (2, 1, 0):
        answer = _as(world, NDJSON, path)
        assert answer.text.count("\n") == expected
        lines += [json.loads(line) for line in answer.text.splitlines()]
        assert (answer.headers["Feed-Head-Sequence"], answer.headers["Feed-Head-Hash"]) == ("3", whole["head_hash"])
        assert answer.headers["Feed-Next"] == str(lines[-1]["sequence"])
        path = answer.links["next"]["url"]
    assert lines == whole["records"]
    assert path == "/v1/cost-records?after=3&limit=2"


def test_only_lines_may_be_more_than_a_page(world: World) -> None:
    longer = f"/v1/cost-records?limit={MAX_PAGE + 1}"
    _as(world, NDJSON, longer)
    for form in ("application/json", EVENTS):
        problem(world.call("GET", longer, "ledger", headers={"Accept": form}), 422, "invalid_request", "limit")


def test_the_feed_as_cloudevents_is_the_feed(world: World) -> None:
    _run_jobs(world, 2)
    records = _feed(world)["records"]
    answer = _as(world, EVENTS)
    events = answer.json()
    assert [event["data"] for event in events] == records
    assert [event["id"] for event in events] == [record["id"] for record in records]
    assert (answer.headers["Feed-Next"], answer.headers["Feed-Head-Sequence"]) == ("2", "2")
    assert _as(world, EVENTS).content == answer.content, "what is sent again is the same events"
    schema = world.call("GET", httpx.URL(events[0]["dataschema"]).path, "tenant-a")
    assert schema.headers["content-type"] == "application/schema+json"
    assert set(schema.json()["required"]) <= set(records[0]) <= set(schema.json()["properties"])


def test_one_record_by_its_id(world: World) -> None:
    _run_jobs(world, 2)
    for record in _feed(world)["records"]:
        path = f"/v1/cost-records/{record['id']}"
        assert world.get(path, "finance") == record
        assert _as(world, EVENT, path).json()["data"] == record


def test_an_id_that_stands_nowhere_is_not_found(world: World) -> None:
    _run_jobs(world, 1)
    (record,) = _feed(world)["records"]
    for other in (f"{record['id']}x", "cost-000000000002-n", "cost-1-n", f"cost-{9**20}-n", "1", "%00", "cost-000000000001-"):
        problem(world.call("GET", f"/v1/cost-records/{other}", "ledger"), 404, "not_found")
    problem(world.call("GET", f"/v1/cost-records/{record['id']}", "tenant-a"), 403, "forbidden")


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


def test_every_rule_behind_a_tag_is_told_to_whom_it_concerns(world: World) -> None:
    world.post("/v1/programmes", {"document": PROGRAMME}, "finance")
    _run_jobs(world, 1)
    (record,) = _feed(world)["records"]
    path = f"/v1/cost-records/{record['id']}/trace"
    for who in ("tenant-a", "finance", "ledger"):
        (traced,) = world.get(path, who)["tags"]
        assert traced["tag"] == record["eligibility"][0]
        kinds = [step["kind"] for step in traced["steps"]]
        assert (kinds[0], kinds[-1]) == ("version", "result")
        assert kinds.count("rule") == len(PROGRAMME["requires"])
        assert all(step["zh"] and step["en"] for step in traced["steps"])
    problem(world.call("GET", path, "tenant-b"), 404, "not_found")
    problem(world.call("GET", "/v1/cost-records/cost-000000000001-other/trace", "finance"), 404, "not_found")
