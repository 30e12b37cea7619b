"""Random small networks and queues: small enough that a few of everything meet, random enough that nobody chose how."""

from dataclasses import replace

from hypothesis import strategies as st

from scheduler.contract.job import Profile
from scheduler.contract.window import WindowKind
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.reasons import Reason
from scheduler.domain.topology import CLUSTER, Level
from scheduler.domain.versions import parse_range, parse_version
from scheduler.engine.constraints import Constraint, LabelIn, Traits, VersionIn
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Card, Fleet, Kind, Node
from scheduler.engine.order import BackOff, QueuedJob
from scheduler.engine.shape import GIB, Shape
from scheduler.engine.snapshot import FOREVER, ActiveRun, Backfill, InFlight, Prices, Snapshot
from scheduler.engine.staging import Data, Links
from scheduler.engine.window import Window
from tests.engine.builders import ASCEND, HOPPER, METAX, SECOND, SLICE, quote, snapshot

CLUSTERS = ("a", "b", "c")
KINDS = (ASCEND, METAX, HOPPER, SLICE)
TERMS = ("full", "voucher")
TENANTS = ("startup", "university")
NOW = 1000 * SECOND


def _seldom(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 5)) == 5


TRAITS = st.sampled_from(
    [
        Traits(frozenset({("zone", zone)} if zone else ()), driver=parse_version(driver), toolkit=parse_version(toolkit))
        for zone, driver, toolkit in (
            (None, "", ""),
            (None, "535.104.05", "12.2"),
            ("east", "550.54.15", "12.4"),
            ("east", "24.1.rc2", ""),
            ("west", "550.54.15", "12.2"),
        )
    ]
)

CONSTRAINTS: tuple[Constraint, ...] = (
    LabelIn("zone", frozenset({"east"})),
    LabelIn("zone", frozenset({"east", "west"})),
    VersionIn("driver", parse_range(">=535.104")),
    VersionIn("driver", parse_range("<550")),
    VersionIn("toolkit", parse_range(">12.2")),
)


LEVELS: st.SearchStrategy[Level] = st.sampled_from((*range(CLUSTER), *[CLUSTER] * 9))
"""Mostly anywhere."""

ISLANDS = st.sampled_from(((None,) * 4, (4, 4, 7, 7), (7, 4, None, 7)))
"""Of a node's cards: not known, two pairs, or a pair and what is beside it."""


@st.composite
def nodes(draw: st.DrawFn, number: int) -> Node:
    """Mostly of one kind of card or instance; sometimes with another, an unhealthy card, or silent."""
    main = draw(st.sampled_from(KINDS))
    kinds: list[Kind | None] = [main] * draw(st.sampled_from((0, 1, 2, 2, 4, 4)))
    if kinds and _seldom(draw):
        kinds[0] = draw(st.sampled_from((*KINDS, None)))
    islands = draw(ISLANDS)
    return Node(
        cluster=draw(st.sampled_from(CLUSTERS)),
        name=f"n{number}",
        cpu_milli=draw(st.integers(3, 8)) * 1000,
        memory_bytes=draw(st.integers(3, 8)) * GIB,
        cards=tuple(Card(f"n{number}/{slot}", kind, islands[slot]) for slot, kind in enumerate(kinds)),
        link_domain="pod" if _seldom(draw) else None,
        rack=draw(st.sampled_from((None, "r1", "r2"))),
        spine=draw(st.sampled_from((None, "s1", "s2"))),
        live=not _seldom(draw),
        traits=draw(TRAITS),
    )


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    return Fleet.of([draw(nodes(number)) for number in range(draw(st.integers(1, 6)))])


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    size = draw(st.sampled_from((1, 1, 1, 2, 3)))
    per_node = draw(st.sampled_from((0, 1, 1, 2, 2, 4)))
    wants_cards = per_node > 0
    mig = SLICE.mig if wants_cards and _seldom(draw) else ""
    return Shape(
        nodes=size,
        min_nodes=draw(st.integers(1, size)) if _seldom(draw) else size,
        per_node=per_node,
        card_milli=draw(st.sampled_from((250, 500, 1000))) if per_node == 1 and not mig else 1000,
        hardware_class=draw(st.sampled_from((None, *HardwareClass))) if wants_cards and _seldom(draw) else None,
        models=draw(st.sampled_from((frozenset(), frozenset(), frozenset({"910B3"}), frozenset({"H800", "MXC500"})))),
        cpu_milli=draw(st.integers(0 if wants_cards else 1, 4)) * 1000,
        memory_bytes=draw(st.integers(0, 3)) * GIB,
        mig=mig,
        within=draw(LEVELS),
        near=draw(LEVELS),
        constraints=tuple(draw(st.lists(st.sampled_from(CONSTRAINTS), max_size=2))) if _seldom(draw) else (),
    )


@st.composite
def jobs(draw: st.DrawFn, number: int) -> QueuedJob:
    return QueuedJob(
        id=f"j{number}",
        tenant=draw(st.sampled_from(TENANTS)),
        priority=draw(st.sampled_from((25, 50, 75))),
        submitted_at=draw(st.integers(0, 3)) * SECOND,
        shapes=tuple(draw(st.lists(shapes(), min_size=1, max_size=2))),
        terms=draw(st.sampled_from(TERMS)),
        clusters=draw(st.frozensets(st.sampled_from(CLUSTERS))) if _seldom(draw) else None,
        hold=Reason("waiting_for_round") if _seldom(draw) and _seldom(draw) else None,
        max_runtime_seconds=draw(st.sampled_from((None, 50, 100, 500))),
        deadline=NOW + draw(st.sampled_from((0, 60, 3600, 9000))) * SECOND if _seldom(draw) else None,
        profile=draw(st.sampled_from(Profile)),
        data=draw(data()) if draw(st.booleans()) else (),
        back_off=(BackOff(draw(st.sampled_from(CLUSTERS)), NOW + draw(st.sampled_from((0, 1)))),) if _seldom(draw) else (),
    )


@st.composite
def data(draw: st.DrawFn) -> tuple[Data, ...]:
    """Some GiB in some clusters, and at times where nobody knows."""
    found = draw(st.dictionaries(st.sampled_from((*CLUSTERS, "")), st.sampled_from((1, 100, 5000)), min_size=1, max_size=3))
    return tuple(Data(cluster, found[cluster]) for cluster in sorted(found))


@st.composite
def links(draw: st.DrawFn) -> Links:
    """Most pairs are linked, some in one direction only."""
    pairs = [(one, other) for one in CLUSTERS for other in CLUSTERS if one != other]
    return {pair: draw(st.sampled_from((100, 1000, 100_000))) for pair in pairs if not _seldom(draw)}


@st.composite
def queues(draw: st.DrawFn) -> list[QueuedJob]:
    return [draw(jobs(number)) for number in range(draw(st.integers(1, 6)))]


@st.composite
def price_books(draw: st.DrawFn) -> Prices | None:
    """Nothing priced, or most places priced, from free of charge to dear."""
    if draw(st.booleans()):
        return None
    models = (*(kind.model for kind in KINDS), None)
    return {
        (terms, cluster, model): quote(draw(st.integers(0, 4)) * 25)
        for terms in TERMS
        for cluster in CLUSTERS
        for model in models
        if not _seldom(draw)
    }


@st.composite
def active_runs(draw: st.DrawFn, fleet: Fleet) -> list[ActiveRun]:
    """Runs that could really be there: what one round on the empty network would have granted."""
    granted = cycle(snapshot(fleet, draw(queues()))).grants
    return [
        ActiveRun(
            attempt=f"run-{grant.job}",
            job=f"old-{grant.job}",
            tenant=draw(st.sampled_from(TENANTS)),
            priority=draw(st.sampled_from((0, 25, 50))),
            preemptible=not _seldom(draw),
            place=grant.place,
            safe_at=draw(st.one_of(st.none(), st.integers(0, 1000).map(lambda seconds: seconds * SECOND))),
            releasing=_seldom(draw),
            ends_at=draw(st.sampled_from((FOREVER, NOW - SECOND, NOW + 50 * SECOND, NOW + 300 * SECOND))),
            protected_until=draw(st.sampled_from((0, 0, 0, NOW, NOW + 60 * SECOND))),
        )
        for grant in granted
    ]


@st.composite
def windows(draw: st.DrawFn, fleet: Fleet, number: int) -> Window:
    """Open already or opening soon, on some nodes of one cluster."""
    cluster = draw(st.integers(0, len(fleet.clusters) - 1))
    nodes = [row for row, of in enumerate(fleet.cluster_of.tolist()) if of == cluster]
    start = NOW + draw(st.sampled_from((-10, 0, 50, 100, 200))) * SECOND
    reserved = draw(st.booleans())
    return Window(
        id=f"w{number}",
        kind=WindowKind.RESERVATION if reserved else WindowKind.MAINTENANCE,
        start=start,
        end=start + draw(st.sampled_from((20, 100, 1000))) * SECOND,
        cluster=cluster,
        nodes=draw(st.frozensets(st.sampled_from(nodes), min_size=1)),
        tenants=frozenset({draw(st.sampled_from(TENANTS))}) if reserved else frozenset(),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    fleet = draw(fleets())
    moment = snapshot(fleet, draw(queues()), draw(active_runs(fleet)), draw(price_books()), now=NOW)
    several = draw(st.sampled_from((0, 0, 1, 1, 2)))
    backfill = draw(st.sampled_from(Backfill))
    return replace(
        moment,
        windows=[draw(windows(fleet, number)) for number in range(several)],
        backfill=backfill,
        links=draw(links()) if draw(st.booleans()) else {},
        throughput=draw(st.sampled_from(({}, {"910B3": 300}, {"910B3": 300, "MXC500": 150, "H800": 900}))),
        in_flight={cluster: InFlight(draw(st.integers(0, 2)), 2) for cluster in CLUSTERS if _seldom(draw)},
    )
