"""What a job asks of nodes: where it then fits, what is said of nodes it loses, and that only constrained shapes pay for it."""

import pytest

from scheduler.domain.versions import parse_range, parse_version
from scheduler.engine.answers import answer
from scheduler.engine.constraints import Constraint, LabelIn, Traits, VersionIn
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.packing import Packing
from scheduler.engine.place import capacity
from scheduler.engine.preempt import cheapest_victims
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Snapshot
from tests.engine.builders import gang, job, node, place, run, snapshot

EAST = LabelIn("zone", frozenset({"east"}))
NEW_DRIVER = VersionIn("driver", parse_range(">=550"))
OLD, NEW = Traits(driver=parse_version("535.104.05")), Traits(driver=parse_version("550.54.15"))
NEW_EAST = Traits(frozenset({("zone", "east"), ("rack", "r1")}), parse_version("550.54.15"), parse_version("12.4"))

FLEET = Fleet.of([node("n1", traits=OLD), node("n2", traits=OLD), node("n3", traits=NEW), node("n4", traits=NEW_EAST)])


def _wants(*constraints: Constraint, nodes: int = 1) -> Shape:
    return gang(nodes, constraints=constraints)


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        (EAST, [False, False, True]),
        (LabelIn("zone", frozenset({"west", "east"})), [False, False, True]),
        (LabelIn("zone", frozenset({"r1"})), [False, False, False]),
        (NEW_DRIVER, [False, True, True]),
        (VersionIn("driver", parse_range("<550")), [True, False, False]),
        (VersionIn("toolkit", parse_range(">=12.2,<13")), [False, False, True]),
    ],
)
def test_what_a_node_does_not_say_it_does_not_have(constraint: Constraint, holds: list[bool]) -> None:
    assert [constraint.holds(traits) for traits in (OLD, NEW, NEW_EAST)] == holds
    assert not constraint.holds(Traits())


def test_constraints_read_as_a_tenant_writes_them() -> None:
    assert _wants(NEW_DRIVER, LabelIn("zone", frozenset({"west", "east"}))).what() == "any-model driver>=550 zone=east|west"


def test_only_nodes_that_meet_all_of_them_count() -> None:
    (kind,) = FLEET.kinds_for(gang())
    asked: list[tuple[Constraint, ...]] = [
        (),
        (NEW_DRIVER,),
        (EAST,),
        (NEW_DRIVER, EAST),
        (VersionIn("driver", parse_range("<550")), EAST),
    ]
    assert [capacity(FLEET, _wants(*each), kind).tolist() for each in asked] == [[4], [2], [1], [1], [0]]
    grants = cycle(snapshot(FLEET, [job(f"j{number}", _wants(NEW_DRIVER)) for number in range(3)])).grants
    assert sorted(FLEET.nodes[grant.place.allocations[0].node].name for grant in grants) == ["n3", "n4"]


def test_packing_keeps_to_them_too() -> None:
    shape = _wants(EAST)
    moment = snapshot(FLEET, [job("j", shape), job("k", shape)])
    packed = Snapshot(0, FLEET, moment.free, moment.usage, moment.queue, packing=Packing.of(FLEET, {shape: 1}))
    (grant,) = cycle(packed).grants
    assert [FLEET.nodes[part.node].name for part in grant.place.allocations] == ["n4"]


def test_only_gangs_on_nodes_it_could_have_are_stopped_for_it() -> None:
    runs: list[ActiveRun] = [run(f"on-{name}", place(FLEET, name)) for name in ("n1", "n2", "n3", "n4")]
    moment = snapshot(FLEET, [], runs)
    room = cheapest_victims(moment, moment.free, (), job("j", _wants(EAST)), Runs.of(runs)).room
    assert room is not None and [victim.attempt for victim in room.victims] == ["on-n4"]


def test_a_promise_is_made_on_nodes_that_meet_them() -> None:
    runs = [
        run(f"on-{name}", place(FLEET, name), priority=50, ends_at=ends_at) for ends_at, name in enumerate(("n1", "n2", "n4"), 1)
    ]
    decisions = cycle(snapshot(FLEET, [job("j", _wants(EAST))], runs))
    assert decisions.promised_at == {"j": 3}


def test_an_explanation_says_how_many_nodes_each_constraint_leaves() -> None:
    verdict = cycle(snapshot(FLEET, [job("j", _wants(NEW_DRIVER, EAST, nodes=2))])).verdicts["j"]
    assert (verdict.kind, [reason.code for reason in verdict.reasons]) == (
        "never",
        ["never_larger_than_cluster", "constraints_exclude"],
    )
    assert verdict.reasons[0].text("en").startswith("needs 2 nodes × 8 × any-model driver>=550 zone=east; the largest cluster, a,")
    assert verdict.reasons[1].text("en") == (
        "4 nodes have 8 × any-model; what it asks of nodes leaves 1 of them (driver>=550: 2, zone=east: 1)"
    )
    assert verdict.reasons[1].text("zh") == ("4 个节点具备 8 × 任意型号,其中 1 个满足其对节点的要求(driver>=550: 2, zone=east: 1)")


def test_what_excludes_nothing_is_not_mentioned() -> None:
    runs = [run(f"on-{name}", place(FLEET, name), priority=50) for name in ("n1", "n2", "n3", "n4")]
    any_driver = VersionIn("driver", parse_range(">0"))
    verdict = cycle(snapshot(FLEET, [job("j", _wants(any_driver))], runs)).verdicts["j"]
    assert [reason.code for reason in verdict.reasons] == ["waiting_for_cards"]


def test_of_one_cluster_its_own_nodes_are_counted() -> None:
    fleet = Fleet.of([node("n1", traits=OLD), node("n1", cluster="b", traits=NEW), node("n2", cluster="b", traits=OLD)])
    found = answer(snapshot(fleet, []), job("j", _wants(NEW_DRIVER)))
    (refusal,) = found.refusals
    assert (refusal.cluster, [reason.code for reason in refusal.reasons]) == (
        "a",
        ["place_no_such_hardware", "constraints_exclude"],
    )
    assert (refusal.reasons[1].numbers["have"], refusal.reasons[1].numbers["left"]) == (1, 0)


def _suggested(*constraints: Constraint, nodes: int) -> list[object]:
    found = answer(snapshot(FLEET, []), job("j", _wants(*constraints, nodes=nodes)))
    return [each.reason.numbers["constraint"] for each in found.changes if each.reason.code == "change_drop_constraint"]


def test_what_if_drops_the_constraint_that_is_in_the_way() -> None:
    assert _suggested(NEW_DRIVER, EAST, nodes=2) == ["zone=east"]


def test_what_if_drops_all_of_them_where_no_single_one_is_enough() -> None:
    assert _suggested(NEW_DRIVER, EAST, nodes=3) == ["driver>=550, zone=east"]
    assert _suggested(NEW_DRIVER, EAST, nodes=5) == []
