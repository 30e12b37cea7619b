"""The moment the engine decides on: what runs is deducted, what is silent or unwell is left out, what must wait is held."""

from datetime import datetime
from typing import Any

import pytest

from scheduler.contract.scheduling import SchedulingPolicy
from scheduler.domain.states import AttemptState, JobState
from scheduler.domain.versions import parse_version
from scheduler.engine.constraints import Traits
from scheduler.engine.snapshot import Backfill, Snapshot
from scheduler.service.mirror import look as look_at
from scheduler.store.database import CITY, Database
from scheduler.store.live import NodeKey
from scheduler.store.tables import ClusterRow, NodeRow, SchedulingPolicyRow
from tests.builders import GIB, NOW, add_attempt, add_job, after, ascend, contract, contract_row, hopper, node_row

NODES = (("hz", "h1"), ("sz", "s1"), ("sz", "s2"))


def look(city: Database, heard_at: dict[NodeKey, datetime] | None = None, now: datetime = NOW) -> Snapshot:
    with city.read(CITY) as session:
        return look_at(session, dict.fromkeys(NODES, now) if heard_at is None else heard_at, now).snapshot(now)


def free_cards(moment: Snapshot) -> dict[str, int]:
    return {node.name: int(moment.free.card_milli[row].sum()) // 1000 for row, node in enumerate(moment.fleet.nodes)}


def test_the_city_schedules_as_was_declared_last(city: Database) -> None:
    assert look(city).backfill is Backfill.EASY
    for choice in ("easy", "conservative"):
        with city.write(CITY) as session:
            session.add(SchedulingPolicyRow(body=SchedulingPolicy(backfill=choice).model_dump(mode="json"), created_at=NOW))
        assert look(city).backfill == choice


def test_an_idle_city_has_every_card_free(city: Database) -> None:
    assert free_cards(look(city)) == {"h1": 8, "s1": 8, "s2": 8}


@pytest.mark.parametrize("state", list(AttemptState))
def test_what_is_active_is_deducted_and_what_has_ended_is_not(city: Database, state: AttemptState) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        placement = {"node": "s1", "devices": ["s1/1", "s1/2"], "cpus": 10, "host_memory_gib": 100}
        add_attempt(session, job, AttemptState.RUNNING, cards=2, placements=[placement]).state = state
    moment = look(city)
    active = state in ("granted", "starting", "running", "unreachable")
    assert free_cards(moment)["s1"] == (6 if active else 8)
    assert [run.tenant for run in moment.runs] == (["acme"] if active else [])
    row = moment.fleet.index["sz", "s1"]
    assert int(moment.free.cpu_milli[row]) == (54_000 if active else 64_000)


def test_a_run_that_was_asked_to_stop_is_releasing(city: Database) -> None:
    with city.write(CITY) as session:
        add_attempt(session, add_job(session, preemptible=True), stop_as="preempted", checkpoint_at=after(seconds=5))
    [run] = look(city).runs
    assert (run.releasing, run.preemptible, run.safe_at) == (True, True, int(after(seconds=5).timestamp()) * 10**6)


@pytest.mark.parametrize(("seconds", "live"), [(30, True), (31, False)])
def test_a_node_that_is_silent_is_not_live(city: Database, seconds: int, live: bool) -> None:
    heard = {**dict.fromkeys(NODES, NOW), ("sz", "s1"): after(seconds=-seconds)}
    assert {node.name: node.live for node in look(city, heard).fleet.nodes} == {"h1": True, "s1": live, "s2": True}


def test_no_node_of_a_silent_cluster_is_live(city: Database) -> None:
    with city.write(CITY) as session:
        session.get_one(ClusterRow, "sz").heard_at = after(seconds=-31)
    assert {node.name: node.live for node in look(city).fleet.nodes} == {"h1": True, "s1": False, "s2": False}


def test_after_redis_was_flushed_nothing_is_live_and_nothing_is_forgotten(city: Database) -> None:
    moment = look(city, {})
    assert not any(node.live for node in moment.fleet.nodes)
    assert free_cards(moment) == {"h1": 8, "s1": 8, "s2": 8}


@pytest.mark.parametrize("health", ["degraded", "lost"])
def test_a_card_that_is_not_healthy_is_not_schedulable_even_while_it_is_held(city: Database, health: str) -> None:
    with city.write(CITY) as session:
        accelerators = ascend("s1")
        accelerators[0]["health"] = health
        node = session.get_one(NodeRow, ("sz", "s1"))
        node.capacity = {**node.capacity, "accelerators": accelerators}
        add_attempt(session, add_job(session), placements=[{"node": "s1", "devices": ["s1/0", "s1/1"]}], cards=2)
    moment = look(city)
    assert free_cards(moment)["s1"] == 6
    assert (moment.free.card_milli >= 0).all()


def test_a_run_on_a_node_that_is_gone_deducts_nothing(city: Database) -> None:
    with city.write(CITY) as session:
        add_attempt(session, add_job(session), placements=[{"node": "gone", "devices": ["gone/0"]}])
    assert free_cards(look(city)) == {"h1": 8, "s1": 8, "s2": 8}


def holds(city: Database, **changes: Any) -> str | None:
    with city.write(CITY) as session:
        job = add_job(session, **changes)
    [queued] = [queued for queued in look(city).queue if queued.id == job.id]
    return queued.hold.code if queued.hold else None


@pytest.mark.parametrize(
    ("start", "end", "hold"),
    [
        ("2026-01-01", "2026-12-31", None),
        ("2026-03-02", "2026-03-02", None),
        ("2026-03-03", "2026-12-31", "waiting_for_contract"),
        ("2026-01-01", "2026-03-01", "waiting_for_contract"),
    ],
)
def test_a_contract_that_is_not_in_force_holds_its_jobs(city: Database, start: str, end: str, hold: str | None) -> None:
    with city.write(CITY) as session:
        session.add(contract_row(contract("C-2", start=start, end=end)))
    assert holds(city, contract="C-2") == hold


def test_a_job_goes_only_where_its_contract_is(city: Database) -> None:
    assert holds(city, contract="C-1") is None
    assert look(city).queue[0].clusters == frozenset({"sz"})


@pytest.mark.parametrize(
    ("state", "hold"),
    [
        (JobState.QUEUED, "waiting_for_dependency"),
        (JobState.RUNNING, "waiting_for_dependency"),
        (JobState.SUCCEEDED, None),
        (JobState.FAILED, "dependency_failed"),
        (JobState.CANCELLED, "dependency_failed"),
    ],
)
def test_a_dependency_holds_a_job_until_it_has_succeeded(city: Database, state: JobState, hold: str | None) -> None:
    with city.write(CITY) as session:
        first = add_job(session)
        first.state = state
    assert holds(city, depends_on=[first.id]) == hold


def test_domains_come_from_labels_and_islands_from_the_cards(city: Database) -> None:
    with city.write(CITY) as session:
        for name, labels in (("s3", {"rack": "r-1", "spine": "sp-1"}), ("s4", {"link_domain": "pod-1"})):
            row = node_row("sz", name, ascend(name, link_island=1))
            row.capacity = {**row.capacity, "labels": labels}
            session.add(row)
    nodes = {node.name: node for node in look(city).fleet.nodes}
    assert (nodes["s3"].link_domain, nodes["s3"].rack, nodes["s3"].spine) == (None, "r-1", "sp-1")
    assert nodes["s4"].link_domain == "pod-1"
    assert {card.island for card in nodes["s3"].cards} == {1}


def test_a_card_in_mig_mode_is_its_instances_and_a_run_holds_those(city: Database) -> None:
    instances = [{"uuid": f"MIG-{number}", "profile": "3g.40gb", "memory_bytes": 39 * GIB} for number in range(2)]
    with city.write(CITY) as session:
        cut, whole = hopper("m1")[:2]
        session.add(node_row("sz", "m1", [{**cut, "mig": {"slices": 7, "instances": instances}}, whole]))
        placement = {"node": "m1", "devices": ["MIG-1"], "card_milli": 428, "mig": "3g.40gb"}
        add_attempt(session, add_job(session), placements=[placement], vendor="nvidia", model="H800", cards=1)
    snapshot = look(city)
    fleet = snapshot.fleet
    cards = fleet.nodes[fleet.index["sz", "m1"]].cards
    assert [card.device for card in cards] == ["MIG-0", "MIG-1", whole["uuid"]]
    assert [(card.kind.mig, card.kind.card_milli, card.kind.memory_bytes // GIB) for card in cards if card.kind] == [
        ("3g.40gb", 428, 40),
        ("3g.40gb", 428, 40),
        ("", 1000, 80),
    ]
    assert snapshot.free.card_milli[fleet.index["sz", "m1"]].tolist()[:3] == [1000, 0, 1000]
    (run,) = snapshot.runs
    assert (fleet.kinds[run.place.kind].mig, run.place.card_milli()) == ("3g.40gb", 428)


def test_what_nodes_say_of_themselves_is_known_to_the_engine(city: Database) -> None:
    with city.write(CITY) as session:
        said = {"labels": {"zone": "east"}, "driver_version": "550.54.15", "toolkit_version": "12.4, 8.0"}
        for name, capacity in (("s3", said), ("s4", {"driver_version": None})):
            node = node_row("sz", name, ascend(name))
            node.capacity = {**node.capacity, **capacity}
            session.add(node)
    traits = {node.name: node.traits for node in look(city).fleet.nodes}
    assert traits["s3"] == Traits(frozenset({("zone", "east")}), driver=parse_version("550.54.15"))
    assert traits["s4"] == Traits(), "stored before there were versions, or without any"
