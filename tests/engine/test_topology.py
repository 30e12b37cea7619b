"""Domains of every level: what a gang needs within one, and how near it comes to the fewest."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.topology import CLUSTER, LINK_DOMAIN, RACK, SPINE, Level
from scheduler.engine.answers import answer
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import NO_KIND, Card, Fleet, Node
from scheduler.engine.offers import offers
from scheduler.engine.packing import Packing
from scheduler.engine.place import Place, fitting, place_in
from scheduler.engine.room import Room
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.topology import spans, spread
from tests.engine import oracle
from tests.engine.builders import ASCEND, PriceBook, gang, job, node, place, quote, run, snapshot

HEIGHTS = (LINK_DOMAIN, RACK, SPINE)


def _named(name: str, place_: str) -> Node:
    """A node called `name` at `pod/rack/spine`; a dash where it does not say."""
    pod, rack, spine = (None if part == "-" else part for part in place_.split("/"))
    return node(name, link_domain=pod, rack=rack, spine=spine)


def _islands(name: str, *islands: int | None, **rest: object) -> Node:
    cards = tuple(Card(f"{name}/{slot}", ASCEND, island) for slot, island in enumerate(islands))
    return Node("a", name, 64_000, 2**40, cards, **rest)  # type: ignore[arg-type]


def _placed(fleet: Fleet, shape: Shape, *busy: str) -> Place | None:
    free = fleet.all_free()
    for name in busy:
        free.take(place(fleet, name).allocations)
    return place_in(fleet, free, shape, fleet.kinds.index(ASCEND), 0)


def _names(fleet: Fleet, found: Place | None) -> list[str]:
    return [fleet.nodes[part.node].name for part in found.allocations] if found else []


@pytest.mark.parametrize("level", HEIGHTS)
def test_one_domain_means_one_domain_at_every_level_and_the_tightest(level: Level) -> None:
    at = ("{0}/-/-", "-/{0}/-", "-/-/{0}")[level]
    sizes = {"big": 4, "fit": 2, "one": 1}
    nodes = [_named(f"{name}-{number}", at.format(name)) for name, size in sizes.items() for number in range(size)]
    fleet = Fleet.of([*nodes, node("loose-1"), node("loose-2")])
    assert _names(fleet, _placed(fleet, gang(2, within=level))) == ["fit-0", "fit-1"]
    assert _names(fleet, _placed(fleet, gang(2, within=level), "fit-0")) == ["big-0", "big-1"]
    assert _placed(fleet, gang(5, within=level)) is None


def test_domains_of_one_name_in_two_clusters_are_two() -> None:
    fleet = Fleet.of([_named("n1", "p/r/s"), node("n2", cluster="b", link_domain="p", rack="r", spine="s")])
    assert all(len(set(fleet.domain_of[level].tolist())) == 2 for level in HEIGHTS)


def test_a_gang_on_one_node_needs_one_island_of_links() -> None:
    fleet = Fleet.of([_islands("mixed", 0, 0, 1, 1), _islands("joined", 3, 3, 3, None), _islands("unknown", *[None] * 4)])
    assert _names(fleet, _placed(fleet, gang(1, 3, within=LINK_DOMAIN))) == ["joined"]
    found = _placed(fleet, gang(1, 3, within=LINK_DOMAIN))
    assert found is not None and found.allocations[0].slots == (0, 1, 2)
    assert _placed(fleet, gang(1, 4, within=LINK_DOMAIN)) is None
    assert _placed(fleet, gang(2, 2, within=LINK_DOMAIN)) is None, "islands of two nodes are two domains"


def test_cards_are_taken_from_the_smallest_island_that_has_enough() -> None:
    fleet = Fleet.of([_islands("n", 0, 0, 0, 0, 1, 1)])
    for wish in ({"within": LINK_DOMAIN}, {"near": LINK_DOMAIN}):
        found = _placed(fleet, gang(1, 2, **wish))
        assert found is not None and found.allocations[0].slots == (4, 5)


def test_a_supernode_joins_all_cards_of_its_nodes() -> None:
    fleet = Fleet.of([_islands("n1", 0, 0, 1, 1, link_domain="pod"), _islands("n2", 0, 0, 1, 1, link_domain="pod")])
    assert _names(fleet, _placed(fleet, gang(2, 4, within=LINK_DOMAIN))) == ["n1", "n2"]


def test_wanting_links_prefers_nodes_whose_cards_are_joined_and_takes_others_if_need_be() -> None:
    fleet = Fleet.of([_islands("apart", 0, 0, 1, 1), _islands("joined", 0, 0, 0, 0, 1, 1)])
    near = _placed(fleet, gang(1, 4, near=LINK_DOMAIN))
    assert (_names(fleet, near), near and near.spread) == (["joined"], 1)
    assert _names(fleet, _placed(fleet, gang(1, 4))) == ["apart"], "fewest cards left over, where nobody asked"
    both = _placed(fleet, gang(2, 4, near=LINK_DOMAIN))
    assert (_names(fleet, both), both and both.spread) == (["apart", "joined"], 3)


RACKS = Fleet.of(
    [
        *(_named(f"a{number}", "-/ra/s1") for number in range(2)),
        *(_named(f"b{number}", "-/rb/s1") for number in range(2)),
        *(_named(f"c{number}", "-/rc/s2") for number in range(3)),
        _named("d0", "-/rd/-"),
        node("loose"),
    ]
)


@pytest.mark.parametrize(
    ("nodes", "busy", "names", "racks"),
    [
        (2, (), "a0 a1", 1),  # the smallest rack that holds it
        (3, (), "c0 c1 c2", 1),  # the only rack that does
        (4, (), "a0 a1 b0 b1", 2),  # no rack, but one spine
        (3, ("c0",), "a0 a1 b0 b1", 2),
        (5, (), "a0 a1 b0 b1 c0 c1 c2", 2),  # over spines, the fewest racks
        (6, (), "a0 a1 b0 b1 c0 c1 c2 d0 loose", 3),
        (9, (), "a0 a1 b0 b1 c0 c1 c2 d0 loose", 5),
    ],
)
def test_near_is_one_domain_else_the_fewest(nodes: int, busy: tuple[str, ...], names: str, racks: int) -> None:
    found = _placed(RACKS, gang(nodes, near=RACK), *busy)
    assert found is not None and found.nodes == nodes
    assert set(_names(RACKS, found)) <= set(names.split())
    assert found.spread == spread(RACKS, found.allocations, RACK) == racks


def test_the_last_domain_is_as_small_as_will_do() -> None:
    assert {"d0", "loose"} & set(_names(RACKS, _placed(RACKS, gang(6, near=RACK))))


def test_near_comes_before_how_full_nodes_are_left_and_after_price() -> None:
    fleet = Fleet.of([*(_named(f"n{number}", f"-/r{number % 2}/-") for number in range(4)), node("far", cluster="b", rack="x")])
    moment = snapshot(fleet, [job("j", gang(2, 4, near=RACK))], [run("r", place(fleet, "n0", 4)), run("s", place(fleet, "n1", 4))])
    for packing in (None, Packing.of(fleet, {gang(2, 4): 1})):
        (grant,) = cycle(Snapshot(0, fleet, moment.free, moment.usage, moment.queue, packing=packing)).grants
        assert _names(fleet, grant.place) in (["n0", "n2"], ["n1", "n3"])
        assert [reason.text("en") for reason in grant.reasons][1:] == ["it lies in 1 rack(s)"]
        assert [reason.text("zh") for reason in grant.reasons][1:] == ["分布于 1 个机架"]


def test_of_clusters_at_one_price_the_one_with_the_nearest_place() -> None:
    apart = [_named(f"n{number}", f"-/r{number}/-") for number in range(2)]
    near = [node(f"n{number}", cluster="b", rack="r") for number in range(5)]
    fleet = Fleet.of([*apart, *near])
    wish = job("j", gang(2, near=RACK))
    prices: PriceBook = {("", "a", "910B3"): quote(1), ("", "b", "910B3"): quote(1)}
    moment = snapshot(fleet, [wish], prices=prices)
    (grant,) = cycle(moment).grants
    assert (grant.place.cluster, grant.place.spread) == (1, 1)
    assert [offer.place.cluster for offer in offers(moment, moment.free, wish, wish.shapes[0])] == [1, 0]
    cheaper = snapshot(fleet, [wish], prices={**prices, ("", "a", "910B3"): quote(0)})
    assert cycle(cheaper).grants[0].place.cluster == 0
    assert answer(cheaper, wish).reasons[1].numbers == {"domains": 2, "level": "rack"}


def test_spans_are_said_of_levels_that_are_known() -> None:
    fleet = Fleet.of([_named("m", "-/r1/s1"), _named("n", "-/r2/s1"), _named("o", "-/-/s2")])
    found = _placed(fleet, gang(3))
    assert found is not None
    assert spans(fleet, found.allocations[:2]) == {"rack": 2, "spine": 1}
    assert spans(fleet, found.allocations) == {"spine": 2}


def test_what_if_widens_one_level_at_a_time() -> None:
    fleet = Fleet.of([_named("n1", "p1/r1/s1"), _named("n2", "p2/r2/s1"), _named("n3", "p3/r3/s2")])

    def helps(nodes: int) -> list[str]:
        found = answer(snapshot(fleet, []), job("j", gang(nodes, within=LINK_DOMAIN)))
        return [each.reason.text("en") for each in found.changes if "topology" in each.reason.code]

    assert helps(2) == ["accept one spine instead of one link_domain"]
    assert helps(3) == ["prefer one link_domain and do not insist on it"]
    assert helps(4) == []


def _hand_picked(fleet: Fleet, shape: Shape) -> int:
    """The best there is over every choice of nodes: within as low a level as it fits, over how few domains of `near`."""
    rows = fitting(fleet, fleet.all_free(), shape, NO_KIND)
    choices = combinations(rows[fleet.cluster_of[rows] == 0].tolist(), shape.nodes)
    return min(_standing(fleet, choice, shape.near) for choice in choices)[1]


def _standing(fleet: Fleet, choice: tuple[int, ...], near: Level) -> tuple[Level, int]:
    domains = [[oracle.domain(fleet.nodes[row], level) for row in choice] for level in range(CLUSTER + 1)]
    within = min(level for level in range(near, CLUSTER + 1) if len(set(domains[level])) == 1 and domains[level][0] is not None)
    return within, len({domain or row for domain, row in zip(domains[near], choice, strict=True)})


@st.composite
def crowded(draw: st.DrawFn) -> Fleet:
    """One cluster whose nodes differ in room, so that which of them are cheapest says nothing of where they are."""
    places = st.tuples(st.sampled_from((None, "r1", "r2", "r3", "r4")), st.sampled_from((None, "s1", "s2")), st.integers(1, 9))
    found = draw(st.lists(places, min_size=1, max_size=8))
    return Fleet.of([Node("a", f"n{n}", cpus * 1000, 2**30, rack=rack, spine=spine) for n, (rack, spine, cpus) in enumerate(found)])


@settings(max_examples=200, deadline=None)
@given(crowded(), st.sampled_from([RACK, SPINE]), st.integers(1, 6))
def test_no_choice_of_nodes_would_be_nearer(fleet: Fleet, near: Level, nodes: int) -> None:
    shape = gang(nodes, 0, cpu_milli=1000, near=near)
    found = place_in(fleet, fleet.all_free(), shape, NO_KIND, 0)
    assert (found is None) == (len(fleet.nodes) < nodes)
    assert found is None or found.spread == _hand_picked(fleet, shape)


def test_who_needs_links_and_who_does_not_are_told_apart() -> None:
    fleet = Fleet.of([_islands("n", 0, 0, 1, 1)])
    room = Room(fleet, fleet.all_free())
    assert room.gangs(gang(1, 3), 0).tolist() == [1]
    assert room.gangs(gang(1, 3, within=LINK_DOMAIN), 0).tolist() == [0]
    assert room.gangs(gang(1, 3), 0).tolist() == [1]
