"""Where a gang fits, and which nodes and cards of all that would do."""

from hypothesis import given, settings

from scheduler.domain.topology import RACK
from scheduler.engine.fleet import Allocation, Fleet
from scheduler.engine.place import Place, place_in
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Snapshot
from tests.engine import oracle
from tests.engine.builders import ASCEND, HOPPER, gang, job, node, places
from tests.engine.strategies import snapshots


def _only(fleet: Fleet, shape: Shape, *taken: Allocation) -> Place:
    free = fleet.all_free()
    free.take(taken)
    (place,) = places(fleet, free, shape)
    return place


def _names(fleet: Fleet, place: Place) -> list[str]:
    return [fleet.nodes[part.node].name for part in place.allocations]


def _taken(node_: int, *slots: int, milli: int = 1000, cpu_milli: int = 0) -> Allocation:
    return Allocation(node_, slots, milli, cpu_milli, 0)


def test_one_place_for_every_cluster_and_kind_that_holds_the_gang() -> None:
    fleet = Fleet.of([node("n1"), node("n2", kind=HOPPER), node("n1", cluster="b"), node("n2", cluster="b")])
    found = {(fleet.clusters[place.cluster], fleet.kinds[place.kind].model) for place in places(fleet, fleet.all_free(), gang(1))}
    assert found == {("a", "910B3"), ("a", "H800"), ("b", "910B3")}
    assert [fleet.clusters[place.cluster] for place in places(fleet, fleet.all_free(), gang(2))] == ["b"]


def test_free_cards_spread_over_nodes_are_no_room_for_a_gang() -> None:
    fleet = Fleet.of([node("n1"), node("n2")])
    free = fleet.all_free()
    free.take([_taken(0, 0), _taken(1, 0)])
    assert list(places(fleet, free, gang(1))) == []


def test_the_fullest_node_that_fits_is_taken_first() -> None:
    fleet = Fleet.of([node("n1"), node("n2"), node("n3")])
    place = _only(fleet, gang(1, 2), _taken(0, 0), _taken(1, 0, 1, 2, 3, 4, 5))
    assert _names(fleet, place) == ["n2"]
    assert place.allocations[0].slots == (6, 7)


def test_a_fraction_goes_where_a_card_is_broken_already() -> None:
    fleet = Fleet.of([node("n1", cards=4)])
    place = _only(fleet, gang(1, 1, card_milli=300), _taken(0, 2, milli=500), _taken(0, 1, milli=800))
    assert place.allocations == (Allocation(0, (2,), 300, 0, 0),)
    assert (place.cards(), place.card_milli()) == (1, 300)


def test_a_job_without_cards_keeps_away_from_cards() -> None:
    fleet = Fleet.of([node("with", cpus=8), node("without", cards=0, cpus=64)])
    assert _names(fleet, _only(fleet, gang(1, 0, cpu_milli=4000))) == ["without"]


def test_cores_and_memory_count_as_much_as_cards() -> None:
    fleet = Fleet.of([node("n1"), node("n2")])
    assert _names(fleet, _only(fleet, gang(1, cpu_milli=32_000), _taken(0, cpu_milli=40_000))) == ["n2"]
    assert list(places(fleet, fleet.all_free(), gang(1, memory_bytes=2**50))) == []


def test_silent_nodes_are_not_offered() -> None:
    fleet = Fleet.of([node("n1", live=False), node("n2")])
    assert _names(fleet, _only(fleet, gang(1))) == ["n2"]
    assert list(places(fleet, fleet.all_free(), gang(2))) == []


def test_one_rack_means_one_rack_and_the_tightest() -> None:
    nodes = [node(f"{rack}-{number}", rack=rack) for rack, size in (("big", 4), ("fit", 2), ("one", 1)) for number in range(size)]
    fleet = Fleet.of([*nodes, node("loose-1"), node("loose-2")])
    assert _names(fleet, _only(fleet, gang(2, within=RACK))) == ["fit-0", "fit-1"]
    assert list(places(fleet, fleet.all_free(), gang(5, within=RACK))) == []


def test_an_elastic_gang_takes_what_there_is_between_its_bounds() -> None:
    fleet = Fleet.of([node("n1"), node("n2"), node("n3")])
    assert _only(fleet, gang(5, min_nodes=2)).nodes == 3
    assert _only(fleet, gang(2, min_nodes=1)).nodes == 2
    assert list(places(fleet, fleet.all_free(), gang(5, min_nodes=4))) == []


def test_one_model_for_the_whole_gang_even_on_mixed_nodes() -> None:
    fleet = Fleet.of([node("n1", cards=4), node("n2", kind=HOPPER, cards=4)])
    assert list(places(fleet, fleet.all_free(), gang(2, 4))) == []


def test_place_in_asks_one_cluster_only() -> None:
    fleet = Fleet.of([node("n1", cluster="b"), node("n2", cluster="b")])
    ascend = fleet.kinds.index(ASCEND)
    place = place_in(fleet, fleet.all_free(), gang(2), ascend, fleet.clusters.index("b"))
    assert place is not None and _names(fleet, place) == ["n1", "n2"]
    assert place_in(fleet, fleet.all_free(), gang(3), ascend, fleet.clusters.index("b")) is None


@settings(max_examples=80, deadline=None)
@given(snapshots())
def test_fits_exactly_where_counting_by_hand_says_so(moment: Snapshot) -> None:
    fleet = moment.fleet
    for each in moment.queue:
        for shape in each.shapes:
            found = {(fleet.clusters[place.cluster], place.kind) for place in places(fleet, moment.free, shape)}
            assert found == set(oracle.options(fleet, moment.free, job("any"), shape))
