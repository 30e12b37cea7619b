"""The choice of nodes by demand: small cases by hand, and that it neither refuses nor remembers what it should not."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.topology import RACK
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Allocation, Fleet, Free
from scheduler.engine.packing import UNTOUCHED, Packing
from scheduler.engine.place import Place, cheapest_nodes, place_at
from scheduler.engine.shape import GIB, Shape
from scheduler.engine.snapshot import Snapshot
from tests.engine import oracle
from tests.engine.builders import ASCEND, HOPPER, gang, job, node, places, snapshot
from tests.engine.strategies import fleets, shapes, snapshots


def part(milli: int, **rest: int) -> Shape:
    return gang(1, 1, card_milli=milli, **rest)


def taken(node_: int, *slots: int, milli: int = 1000, cpus: int = 0) -> Allocation:
    return Allocation(node_, slots, milli, cpus * 1000, 0)


def cheapest_places(fleet: Fleet, free: Free, shape: Shape, packing: Packing) -> list[Place]:
    return [
        place_at(fleet, free, shape, kind, cluster, nodes, waste, packing)
        for kind, cluster, nodes, waste in cheapest_nodes(fleet, free, shape, packing)
    ]


def cheapest(fleet: Fleet, shape: Shape, asked: Mapping[Shape, int], *held: Allocation) -> Place:
    free = fleet.all_free()
    free.take(held)
    found = cheapest_places(fleet, free, shape, Packing.of(fleet, asked))
    return min(found, key=lambda place: (place.leftover, place.allocations[0].node))


def where(fleet: Fleet, place: Place) -> tuple[str, tuple[int, ...]]:
    return fleet.nodes[place.allocations[0].node].name, place.allocations[0].slots


def test_a_part_goes_where_its_rest_can_still_be_used() -> None:
    """A 320 beside a 650 leaves 30, beside a 470 it leaves 210 of what was good for another 470."""
    fleet = Fleet.of([node("n1", cards=3)])
    asked = {part(470): 10, part(320): 10, part(650): 10, gang(1, 1): 10}
    place = cheapest(fleet, part(320), asked, taken(0, 0, milli=470), taken(0, 1, milli=650))
    assert where(fleet, place) == ("n1", (1,))


def test_a_part_opens_a_card_rather_than_spoil_a_hole_that_others_need() -> None:
    """Best fit would put the 320 on the 470; a new card leaves 680, good for the next 650."""
    fleet = Fleet.of([node("n1", cards=2)])
    asked = {part(470): 10, part(320): 12, part(650): 10, gang(1, 1): 10}
    assert where(fleet, cheapest(fleet, part(320), asked, taken(0, 0, milli=470))) == ("n1", (1,))
    (fullest,) = places(fleet, _free(fleet, taken(0, 0, milli=470)), part(320))
    assert where(fleet, fullest) == ("n1", (0,))


def test_what_asks_for_many_cores_goes_where_they_are() -> None:
    """At 8 cores a card, `poor` has none to spare and `rich` has."""
    fleet = Fleet.of([node("poor", cards=4, cpus=32), node("rich", cards=4, cpus=128)])
    asked = {gang(1, 1, cpu_milli=4000): 10, gang(1, 1, cpu_milli=12_000): 10}
    assert where(fleet, cheapest(fleet, gang(1, 1, cpu_milli=12_000), asked))[0] == "rich"
    assert where(fleet, cheapest(fleet, gang(1, 0, cpu_milli=12_000), asked))[0] == "rich"
    assert where(fleet, cheapest(fleet, gang(1, 1, cpu_milli=4000), asked))[0] == "poor"


def test_the_cost_of_cores_in_cards() -> None:
    """Three cards and 20 cores are left of 4 and 32; at 8 cores a card 20 serve 2.5, so half a card is wasted, and one taken."""
    fleet = Fleet.of([node("n1", cards=4, cpus=32)])
    packing = Packing.of(fleet, {gang(1, 1, cpu_milli=8000): 1})
    ((_, _, _, costs),) = packing.costs(fleet.all_free(), gang(1, 1, cpu_milli=12_000))
    assert costs.tolist() == pytest.approx([1 + 0.5 + UNTOUCHED])


def test_memory_counts_as_cores_do() -> None:
    fleet = Fleet.of([node("n1", cards=4, cpus=128)])
    packing = Packing.of(fleet, {gang(1, 1, memory_bytes=128 * GIB): 1})
    ((_, _, _, costs),) = packing.costs(fleet.all_free(), gang(1, 0, cpu_milli=1000, memory_bytes=64 * GIB))
    assert costs.tolist() == pytest.approx([0.5 + UNTOUCHED])


def test_cards_that_others_insist_on_are_left_to_them() -> None:
    fleet = Fleet.of([node("a-wanted"), node("b-other", kind=HOPPER)])
    picky = gang(1, 1, models=frozenset({ASCEND.model}))
    assert where(fleet, cheapest(fleet, gang(1, 1), {gang(1, 1): 5, picky: 1}))[0] == "b-other"
    assert where(fleet, cheapest(fleet, gang(1, 1), {gang(1, 1): 5}))[0] == "a-wanted"
    assert where(fleet, cheapest(fleet, picky, {gang(1, 1): 5, picky: 1}))[0] == "a-wanted"


def test_contention_is_one_on_average_over_the_cards() -> None:
    fleet = Fleet.of([node("n1"), node("n2", kind=HOPPER, cards=2)])
    packing = Packing.of(fleet, {gang(1, 1): 3, gang(1, 1, models=frozenset({HOPPER.model})): 2})
    assert packing.contention @ fleet.cards_of == pytest.approx(fleet.cards_of.sum())
    ratio = packing.contention[fleet.kinds.index(HOPPER)] / packing.contention[fleet.kinds.index(ASCEND)]
    assert ratio == pytest.approx((3 / 10 + 2 / 2) / (3 / 10))


def test_between_equals_an_untouched_node_stays_whole_and_the_first_is_taken() -> None:
    fleet = Fleet.of([node("n1"), node("n2"), node("n3")])
    assert where(fleet, cheapest(fleet, gang(1, 2), {gang(1, 1): 1}, taken(1, 0), taken(2, 0, 1, 2))) == ("n2", (1, 2))


def test_a_gang_takes_its_cheapest_nodes_in_one_rack_if_asked() -> None:
    racks = {"n1": "r1", "n2": "r2", "n3": "r2", "n4": None}
    fleet = Fleet.of([node(name, rack=rack) for name, rack in racks.items()])
    asked = {gang(1, 1): 1}
    assert [part.node for part in cheapest(fleet, gang(2, 2), asked, taken(3, 0)).allocations] == [3, 0]
    assert [part.node for part in cheapest(fleet, gang(2, 2, within=RACK), asked, taken(3, 0)).allocations] == [1, 2]
    assert cheapest_places(fleet, fleet.all_free(), gang(3, 2, within=RACK), Packing.of(fleet, asked)) == []


def test_nothing_asked_for_yet_is_no_trouble() -> None:
    fleet = Fleet.of([node("n1"), node("n2", cards=0)])
    assert where(fleet, cheapest(fleet, gang(1, 1), {}))[0] == "n1"
    assert where(fleet, cheapest(fleet, gang(1, 0, cpu_milli=1000), {}))[0] == "n2"
    assert cheapest_places(Fleet.of([]), Fleet.of([]).all_free(), gang(1, 1), Packing.of(Fleet.of([]), {gang(1, 1): 1})) == []


@settings(max_examples=80, deadline=None)
@given(snapshots(), st.lists(shapes(), max_size=6))
def test_it_fits_exactly_where_counting_by_hand_says_so(moment: Snapshot, asked: list[Shape]) -> None:
    """Nothing that fits is refused and nothing is placed where it does not fit, whatever the demand."""
    fleet = moment.fleet
    packing = Packing.of(fleet, Counter(asked))
    for each in moment.queue:
        for shape in each.shapes:
            found = cheapest_places(fleet, moment.free, shape, packing)
            assert {(fleet.clusters[place.cluster], place.kind) for place in found} == set(
                oracle.options(fleet, moment.free, job("any"), shape)
            )
            for place in found:
                _check(fleet, moment.free, shape, place)


@settings(max_examples=80, deadline=None)
@given(snapshots(), st.lists(shapes(), max_size=6))
def test_costs_are_the_three_parts_counted_node_by_node(moment: Snapshot, asked: list[Shape]) -> None:
    packing = Packing.of(moment.fleet, Counter(asked))
    for shape in {shape for each in moment.queue for shape in each.shapes}:
        for kind, _, nodes, costs in packing.costs(moment.free, shape):
            for node_, cost in zip(nodes.tolist(), costs.tolist(), strict=True):
                assert cost == np.inf or cost == pytest.approx(_waste(packing, moment.free, shape, kind, node_), abs=2e-6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_remembered_is_what_would_be_computed(data: st.DataObject) -> None:
    """Over any course of grants and returns, and with two pictures of what is free asked in turn."""
    fleet = data.draw(fleets())
    wanted = data.draw(st.lists(shapes(), min_size=1, max_size=4))
    asked = Counter(wanted)
    packing, free, empty = Packing.of(fleet, asked), fleet.all_free(), fleet.all_free()
    held: list[Place] = []
    for _ in range(data.draw(st.integers(1, 8))):
        shape = data.draw(st.sampled_from(wanted))
        for picture in (free, empty):
            known, fresh = packing.costs(picture, shape), Packing.of(fleet, asked).costs(picture, shape)
            for (*ours, costs), (*theirs, computed) in zip(known, fresh, strict=True):
                assert ours[:2] == theirs[:2]
                assert np.array_equal(costs, computed)
        found = cheapest_places(fleet, free, shape, packing)
        if held and (not found or data.draw(st.booleans())):
            free.give(held.pop().allocations)
        elif found:
            held.append(found[0])
            free.take(found[0].allocations)


@settings(max_examples=40, deadline=None)
@given(fleets(), st.lists(shapes(), min_size=1, max_size=5))
def test_equal_moments_get_equal_grants(fleet: Fleet, asked: list[Shape]) -> None:
    queue = [job(f"j{number}", shape) for number, shape in enumerate(asked)]
    moments = []
    for order in (asked, asked[::-1]):
        plain = snapshot(fleet, queue)
        moments.append(Snapshot(0, fleet, plain.free, plain.usage, queue, packing=Packing.of(fleet, Counter(order))))
    assert cycle(moments[0]).grants == cycle(moments[1]).grants


def _free(fleet: Fleet, *held: Allocation) -> Free:
    free = fleet.all_free()
    free.take(held)
    return free


def _waste(packing: Packing, free: Free, shape: Shape, kind: int, node_: int) -> float:
    """What a member wastes on a node where it fits: cuts, cores and memory, contention, and whether the node was whole."""
    fleet, size, value = packing.fleet, shape.card_milli, packing.card_value
    milli = [int(milli) for milli in free.card_milli[node_]]
    rooms = [room for room, of_kind in zip(milli, fleet.card_kind[node_], strict=True) if of_kind == kind and room >= size]
    cuts = sorted(value[room] - value[room - size] - size / 1000 for room in rooms)[: shape.per_node]
    taken = shape.per_node * size / 1000
    waste = sum(cuts) + (packing.contention[kind] * taken if shape.per_node else 0.0)
    beside = ((free.cpu_milli[node_], shape.cpu_milli), (free.memory_bytes[node_], shape.memory_bytes))
    for (left, asked), per_card in zip(beside, packing.per_card[:, node_], strict=True):
        before = max(sum(milli) / 1000 * per_card - left, 0)
        after = max((sum(milli) / 1000 - taken) * per_card - (left - asked), 0)
        waste += (after - before) / max(per_card, 1)
    whole = sum(milli) > 0 and sum(milli) == fleet.empty.card_milli[node_].sum()
    return float(waste + UNTOUCHED * whole)


def _check(fleet: Fleet, free: Free, shape: Shape, place: Place) -> None:
    """The place is one the shape may have, on distinct live nodes, and within what is free."""
    assert shape.min_nodes <= place.nodes <= shape.nodes
    assert len({part.node for part in place.allocations}) == place.nodes
    left = free.copy()
    left.take(place.allocations)
    for values in (left.card_milli, left.cpu_milli, left.memory_bytes):
        assert (values >= 0).all()
    for each in place.allocations:
        assert fleet.live[each.node] and fleet.cluster_of[each.node] == place.cluster
        assert len(each.slots) == shape.per_node
        assert all(fleet.card_kind[each.node, slot] == place.kind for slot in each.slots)
    if shape.within == RACK:
        assert len({int(fleet.domain_of[RACK][each.node]) for each in place.allocations}) == 1
