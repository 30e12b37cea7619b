"""The network as arrays."""

import numpy as np

from scheduler.domain.hardware import HardwareClass
from scheduler.domain.topology import RACK
from scheduler.engine.fleet import NO_KIND, Allocation, Card, Fleet, Node
from scheduler.engine.shape import GIB
from tests.engine.builders import ASCEND, HOPPER, METAX, gang, node


def test_equal_networks_make_equal_fleets_in_any_order() -> None:
    nodes = [node("n2", kind=HOPPER), node("n1", rack="r1"), node("n1", cluster="b", kind=METAX, rack="r1")]
    one, other = Fleet.of(nodes), Fleet.of(nodes[::-1])
    assert one.nodes == other.nodes
    assert one.kinds == other.kinds
    assert one.index == other.index == {("a", "n1"): 0, ("a", "n2"): 1, ("b", "n1"): 2}
    assert np.array_equal(one.card_kind, other.card_kind)
    assert one.domain_of[RACK].tolist() == other.domain_of[RACK].tolist() == [0, -1, 1], "one name in two clusters is two racks"


def test_a_card_that_must_not_be_scheduled_is_never_free() -> None:
    fleet = Fleet.of([Node("a", "n1", 1000, GIB, (Card("bad", None), Card("good", ASCEND))), node("n2", cards=3)])
    assert fleet.card_kind[0].tolist() == [NO_KIND, 0, NO_KIND]
    assert fleet.all_free().card_milli[0].tolist() == [0, 1000, 0]


def test_a_kind_suits_a_shape_by_class_vendor_model_and_memory() -> None:
    suits = ASCEND.suits
    assert suits(gang())
    assert suits(gang(hardware_class=HardwareClass.DOMESTIC, models=frozenset({"910B3", "H800"})))
    assert not suits(gang(hardware_class=HardwareClass.FOREIGN))
    assert not suits(gang(vendors=frozenset({"nvidia"})))
    assert not suits(gang(models=frozenset({"H800"})))
    assert suits(gang(card_memory_bytes=64 * GIB))
    assert not suits(gang(card_memory_bytes=65 * GIB))


def test_kinds_and_the_nodes_that_have_them() -> None:
    mixed = Node("a", "n3", 1000, GIB, (Card("x", ASCEND), Card("y", HOPPER)))
    fleet = Fleet.of([node("n1"), node("n2", kind=HOPPER), mixed, node("n4", cards=0)])
    ascend, hopper = (fleet.kinds.index(kind) for kind in (ASCEND, HOPPER))
    assert fleet.kinds_for(gang()) == (ascend, hopper)
    assert fleet.kinds_for(gang(models=frozenset({"H800"}))) == (hopper,)
    assert fleet.kinds_for(gang(per_node=0)) == (NO_KIND,)
    assert fleet.nodes_with(ascend).tolist() == [0, 2]
    assert fleet.nodes_with(hopper).tolist() == [1, 2]
    assert fleet.nodes_with(NO_KIND).tolist() == [0, 1, 2, 3]


def test_clusters_of_which_something_answers() -> None:
    fleet = Fleet.of([node("n1", live=False), node("n2"), node("n1", cluster="b", live=False)])
    assert fleet.live_clusters == {0}


def test_what_is_taken_and_given_back_leaves_no_trace() -> None:
    fleet = Fleet.of([node("n1"), node("n2")])
    free = fleet.all_free()
    part = Allocation(node=1, slots=(2, 5), card_milli=250, cpu_milli=3000, memory_bytes=GIB)
    free.take([part])
    assert free.card_milli[1].tolist() == [1000, 1000, 750, 1000, 1000, 750, 1000, 1000]
    assert (free.cpu_milli[1], free.memory_bytes[1]) == (61_000, 511 * GIB)
    free.give([part])
    assert np.array_equal(free.card_milli, fleet.empty.card_milli)
    assert np.array_equal(free.cpu_milli, fleet.cpu_milli)
    assert np.array_equal(free.memory_bytes, fleet.memory_bytes)


def test_all_free_is_a_copy_that_may_be_changed() -> None:
    fleet = Fleet.of([node("n1")])
    fleet.all_free().take([Allocation(0, (0,), 1000, 64_000, GIB)])
    assert fleet.all_free().card_milli.sum() == 8000
    assert fleet.cpu_milli[0] == 64_000


def test_limit_to_keeps_the_lesser_of_both() -> None:
    fleet = Fleet.of([node("n1", cards=2)])
    one, other = fleet.all_free(), fleet.all_free()
    one.take([Allocation(0, (0,), 600, 0, 0)])
    other.take([Allocation(0, (0, 1), 500, 1000, 0)])
    one.limit_to(other)
    assert one.card_milli[0].tolist() == [400, 500]
    assert one.cpu_milli[0] == 63_000
