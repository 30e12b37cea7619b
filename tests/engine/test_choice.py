"""Which place a profile takes: by hand where that tells a story, and against brute force where there are many to choose from."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.contract.job import Profile
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.reasons import Reason
from scheduler.engine.answers import Option, answer
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet, Free
from scheduler.engine.order import BackOff, QueuedJob
from scheduler.engine.packing import Packing
from scheduler.engine.snapshot import FOREVER, ActiveRun, Decisions, InFlight, Snapshot
from scheduler.engine.staging import Data, Staging
from tests.engine import oracle
from tests.engine.builders import ASCEND, HOPPER, METAX, SECOND, PriceBook, gang, job, node, place, quote, run, snapshot
from tests.engine.strategies import data, links

CITY = Fleet.of(
    [
        *(node(f"{kind.model}-{n}", cluster, kind) for cluster in "abc" for kind in (ASCEND, METAX, HOPPER) for n in range(2)),
        node("spare", "b", HOPPER),
    ]
)
FOUR = Fleet.of([node("d1", "d"), node("d2", "d"), node("f1", "f", HOPPER), node("f2", "f", HOPPER)])
DEAR_AND_CHEAP: PriceBook = {("", "d", "910B3"): quote(90), ("", "f", "H800"): quote(10)}
CORPUS = (Data("f", 1000),)


def where(fleet: Fleet, decisions: Decisions) -> dict[str, str]:
    return {grant.job: fleet.clusters[grant.place.cluster] for grant in decisions.grants}


def only_reason(decisions: Decisions) -> Reason:
    (verdict,) = decisions.verdicts.values()
    (reason,) = verdict.reasons
    return reason


# what each profile looks at


@pytest.mark.parametrize(
    ("profile", "goes_to", "because"),
    [
        (Profile.CHEAPEST_NET, "f", "placed_cheapest_net"),
        (Profile.FASTEST, "d", "placed_fastest"),
        (Profile.DOMESTIC_FIRST, "d", "placed_domestic_first"),
    ],
)
def test_one_job_three_profiles(profile: Profile, goes_to: str, because: str) -> None:
    """The foreign cards are cheaper and the data is near the domestic ones."""
    moment = snapshot(FOUR, [job("j", profile=profile, data=(Data("d", 1000),))], prices=DEAR_AND_CHEAP)
    decisions = cycle(replace(moment, links={("d", "f"): 1000}))
    assert where(FOUR, decisions) == {"j": goes_to}
    reason = decisions.grants[0].reason
    assert reason.code == because
    assert reason.numbers["staging"] == ("2h23m10s" if goes_to == "f" else "0s")


def test_at_one_price_the_cheapest_is_the_one_nearest_to_the_data() -> None:
    prices: PriceBook = {("", "d", "910B3"): quote(10), ("", "f", "H800"): quote(10)}
    for home in "df":
        moment = snapshot(FOUR, [job("j", data=(Data(home, 1),))], prices=prices)
        assert where(FOUR, cycle(replace(moment, links={("d", "f"): 1, ("f", "d"): 1}))) == {"j": home}


def test_a_way_that_nobody_knows_is_taken_last_however_long_the_known_one_is() -> None:
    """From f the link to d is known and slow; that to e is not known, which is not taken for fast."""
    fleet = Fleet.of([node("d1", "d"), node("e1", "e")])
    moment = snapshot(fleet, [job("j", profile=Profile.FASTEST, data=CORPUS)])
    assert where(fleet, cycle(replace(moment, links={("f", "d"): 1}))) == {"j": "d"}
    assert where(fleet, cycle(replace(moment, links={("f", "e"): 1}))) == {"j": "e"}


def test_faster_cards_make_up_for_a_way_if_their_throughput_is_known() -> None:
    """Two hours at most on the slower cards: at three times the throughput 40 minutes, and the corpus takes 24."""
    wanted = job("j", profile=Profile.FASTEST, data=(Data("d", 1000),), max_runtime_seconds=7200)
    moment = replace(snapshot(FOUR, [wanted]), links={("d", "f"): 6000})
    assert where(FOUR, cycle(moment)) == {"j": "d"}
    assert where(FOUR, cycle(replace(moment, throughput={"910B3": 300}))) == {"j": "d"}, "of one alone it tells nothing"
    assert where(FOUR, cycle(replace(moment, throughput={"910B3": 300, "H800": 900}))) == {"j": "f"}


# domestic first


def busy(*names: str, cluster: str = "d", ends_at: int = FOREVER) -> list[ActiveRun]:
    return [run(name, place(FOUR, name, cluster=cluster), preemptible=False, ends_at=ends_at) for name in names]


def test_domestic_first_waits_for_domestic_cards_and_is_told_what_would_help() -> None:
    wanted = job("j", profile=Profile.DOMESTIC_FIRST)
    moment = snapshot(FOUR, [], busy("d1", "d2"), DEAR_AND_CHEAP)
    found = answer(moment, wanted)
    assert (found.verdict, found.reasons[0].text()) == (
        "wait",
        "needs 1 nodes × 8 × domestic any-model; the best cluster, d, has 0 such nodes free now of 2",
    )
    assert {each.cluster: each.reasons[0].code for each in found.refusals} == {"d": "place_busy", "f": "place_not_preferred"}
    (change,) = [each for each in found.changes if each.reason.code == "change_profile"]
    assert change.cluster == "f"
    assert [(FOUR.clusters[each.offer.place.cluster], each.now) for each in found.options] == [("d", False), ("f", True)]


def test_domestic_first_takes_foreign_cards_where_no_domestic_ones_could_ever_hold_it() -> None:
    decisions = cycle(
        snapshot(FOUR, [job("j", gang(2, cpu_milli=1000, card_memory_bytes=80 * 2**30), profile=Profile.DOMESTIC_FIRST)])
    )
    assert where(FOUR, decisions) == {"j": "f"}
    assert decisions.grants[0].reason.code == "placed_no_domestic"


def test_domestic_cards_without_a_price_are_none_to_wait_for() -> None:
    wanted = job("j", profile=Profile.DOMESTIC_FIRST)
    assert where(FOUR, cycle(snapshot(FOUR, [wanted], prices={("", "f", "H800"): quote(10)}))) == {"j": "f"}


def test_a_silent_domestic_cluster_is_waited_for() -> None:
    fleet = Fleet.of([node("d1", "d", live=False), node("f1", "f", HOPPER)])
    decisions = cycle(snapshot(fleet, [job("j", profile=Profile.DOMESTIC_FIRST)]))
    assert only_reason(decisions).code == "waiting_for_cluster"


def test_domestic_first_stops_nobody_on_foreign_cards() -> None:
    runs = [*busy("d1", "d2"), *(run(name, place(FOUR, name, cluster="f"), priority=0) for name in ("f1", "f2"))]
    wanted = job("j", gang(2), priority=100, profile=Profile.DOMESTIC_FIRST)
    assert cycle(snapshot(FOUR, [wanted], runs)).preemptions == ()
    assert cycle(snapshot(FOUR, [replace(wanted, profile=Profile.CHEAPEST_NET)], runs)).preemptions


def test_alternatives_keep_their_number_when_some_are_left_out() -> None:
    foreign, domestic = gang(hardware_class=HardwareClass.FOREIGN), gang(per_node=4)
    (grant,) = cycle(snapshot(FOUR, [job("j", foreign, domestic, profile=Profile.DOMESTIC_FIRST)])).grants
    assert (grant.alternative, FOUR.clusters[grant.place.cluster], grant.place.cards()) == (1, "d", 4)


def test_a_job_without_cards_has_no_class_to_prefer() -> None:
    cores = gang(per_node=0, cpu_milli=1000)
    (grant,) = cycle(snapshot(FOUR, [job("j", cores, profile=Profile.DOMESTIC_FIRST)])).grants
    assert grant.reason.code == "placed_cheapest_net"


# waiting to be done sooner


def test_the_fastest_waits_for_the_place_where_it_is_done_soonest_and_is_promised_that() -> None:
    """f is free but its data takes 2 h 23 m; d, where the data lies, is free in 100 s."""
    runs = busy("d1", "d2", ends_at=100 * SECOND)
    wanted = job("j", profile=Profile.FASTEST, data=(Data("d", 1000),), max_runtime_seconds=3600)
    moment = replace(snapshot(FOUR, [wanted], runs, DEAR_AND_CHEAP), links={("d", "f"): 1000})
    decisions = cycle(moment)
    assert decisions.promised_at == {"j": 100 * SECOND}
    assert only_reason(decisions) == Reason(
        "waiting_for_faster", {"cluster": "d", "seconds": 100, "sooner": 8590 - 100, "free": "f"}
    )
    assert cycle(replace(moment, queue=[replace(wanted, profile=Profile.CHEAPEST_NET)])).grants
    told = answer(moment, wanted)
    assert (told.start.latest, told.start.method) == (100 * SECOND, "promised")
    assert [(FOUR.clusters[each.offer.place.cluster], each.now, each.starts_at, each.staging) for each in told.options] == [
        ("d", False, 100 * SECOND, Staging(0, 0)),
        ("f", True, 0, Staging(8590, 0)),
    ]


def test_one_that_waits_to_be_done_sooner_holds_back_nobody_like_it() -> None:
    """The pool has one promise to give: the second goes where there is room."""
    jobs = [job(name, profile=Profile.FASTEST, data=(Data("d", 1000),), submitted_at=at) for at, name in enumerate(("one", "two"))]
    moment = snapshot(FOUR, jobs, busy("d1", "d2", ends_at=100 * SECOND))
    decisions = cycle(replace(moment, links={("d", "f"): 1000}))
    assert (where(FOUR, decisions), list(decisions.promised_at)) == ({"two": "f"}, ["one"])


@pytest.mark.parametrize(
    ("ends_at", "linked"), [(9000 * SECOND, True), (FOREVER, True), (100 * SECOND, False)], ids=["too late", "never", "not known"]
)
def test_it_does_not_wait_for_what_is_not_known_to_be_sooner(ends_at: int, linked: bool) -> None:
    wanted = job("j", profile=Profile.FASTEST, data=(Data("d", 1000),))
    moment = snapshot(FOUR, [wanted], busy("d1", "d2", ends_at=ends_at))
    assert where(FOUR, cycle(replace(moment, links={("d", "f"): 1000} if linked else {}))) == {"j": "f"}


def test_who_may_not_have_a_promise_does_not_wait_for_one() -> None:
    """The pool's promise is the head's, so the job behind takes what is free."""
    head = job("head", gang(2, models=frozenset({"910B3"})), submitted_at=1)
    wanted = job("j", profile=Profile.FASTEST, data=(Data("d", 1000),), submitted_at=2)
    moment = snapshot(FOUR, [head, wanted], busy("d1", "d2", ends_at=100 * SECOND))
    decisions = cycle(replace(moment, links={("d", "f"): 1000}))
    assert (where(FOUR, decisions), list(decisions.promised_at)) == ({"j": "f"}, ["head"])


def test_where_nothing_is_free_the_promise_is_the_place_where_it_is_done_first() -> None:
    """f is free at 50 s and d at 100 s, but the data is in d."""
    runs = [*busy("d1", "d2", ends_at=100 * SECOND), *busy("f1", "f2", cluster="f", ends_at=50 * SECOND)]
    for profile, at in ((Profile.CHEAPEST_NET, 50), (Profile.FASTEST, 100)):
        wanted = job("j", profile=profile, data=(Data("d", 1000),))
        moment = replace(snapshot(FOUR, [wanted], runs), links={("d", "f"): 1000})
        assert cycle(moment).promised_at == {"j": at * SECOND}


# against brute force


@st.composite
def choices(draw: st.DrawFn) -> Snapshot:
    """Many places that fit and few values, so that each criterion has ties for the next to break."""
    few = st.sampled_from
    wanted = job(
        "j",
        *draw(st.lists(few((gang(), gang(2), gang(3, min_nodes=1), gang(per_node=4))), min_size=1, max_size=2)),
        profile=draw(few(Profile)),
        data=draw(data()),
        max_runtime_seconds=draw(few((None, 600, 6000))),
        clusters=draw(few((None, frozenset("ab")))),
        back_off=draw(few(((), (), (BackOff("b", 1),)))),
    )
    prices: PriceBook = {
        ("", cluster, kind.model): quote(draw(few((10, 10, 20)))) for cluster in "abc" for kind in (ASCEND, METAX, HOPPER)
    }
    held = draw(st.sets(few([each.name for each in CITY.nodes if each.cluster == "a"])))
    runs = [
        run(name, place(CITY, name, cluster="a"), preemptible=False, ends_at=draw(few((60, 9000))) * SECOND)
        for name in sorted(held)
    ]
    return replace(
        snapshot(CITY, [wanted], runs, draw(few((None, prices)))),
        links=draw(links()),
        throughput=draw(few(({}, {"910B3": 300, "MXC500": 150, "H800": 900}))),
        in_flight=draw(few(({}, {}, {"c": InFlight(1, 1)}))),
    )


def earliest(moment: Snapshot, wanted: QueuedJob) -> tuple[int, int, int] | None:
    """Over all places: data whose way is unknown, when the job is done, and when it starts (microseconds); the least of them."""
    found = []
    for at in sorted({moment.now, *(each.ends_at for each in moment.runs)}):
        free = _free_at(moment, at)
        for shape in wanted.shapes:
            for cluster, kind in oracle.options(moment.fleet, free, wanted, shape):
                if oracle.net_price(moment, wanted, cluster, kind) is not None:
                    unknown, seconds = oracle.brought(moment, wanted, cluster)
                    done = at + (seconds + oracle.run_seconds(moment, wanted, shape, kind)) * SECOND
                    found.append((unknown, done, at))
    return min(found, default=None)


def _free_at(moment: Snapshot, at: int) -> Free:
    free = moment.free.copy()
    for each in moment.runs:
        if each.ends_at <= at:
            free.give(each.place.allocations)
    return free


def done_at(moment: Snapshot, wanted: QueuedJob, best: tuple[int, set[tuple[str, int]]]) -> tuple[int, int]:
    """The same for the best of what is free now."""
    alternative, places = best
    cluster, kind = min(places)
    unknown, seconds = oracle.brought(moment, wanted, cluster)
    return unknown, (seconds + oracle.run_seconds(moment, wanted, wanted.shapes[alternative], kind)) * SECOND


@settings(max_examples=300, deadline=None)
@given(choices())
def test_the_choice_is_that_of_brute_force(moment: Snapshot) -> None:
    (wanted,) = moment.queue
    best = oracle.preferred(moment, wanted)
    decisions = cycle(moment)
    if decisions.promised_at and best is not None:  # it waits though something is free: only to be done sooner
        soonest = earliest(moment, wanted)
        assert wanted.profile is Profile.FASTEST
        assert soonest is not None and soonest[:2] < done_at(moment, wanted, best)
        return
    assert bool(decisions.grants) == (best is not None)
    for grant in decisions.grants:
        assert best is not None
        assert grant.alternative == best[0]
        assert (CITY.clusters[grant.place.cluster], grant.place.kind) in best[1]


@settings(max_examples=300, deadline=None)
@given(choices())
def test_the_fastest_is_promised_or_granted_the_earliest_end_there_is(moment: Snapshot) -> None:
    """Whatever is free, in one alternative, with every cluster open to it: the least of all places and moments."""
    (wanted,) = moment.queue
    wanted = replace(wanted, profile=Profile.FASTEST, shapes=wanted.shapes[:1], back_off=())
    moment = replace(moment, queue=[wanted], in_flight={})
    soonest, best, decisions = earliest(moment, wanted), oracle.preferred(moment, wanted), cycle(moment)
    assert soonest is not None
    if best is None:
        assert decisions.promised_at == {"j": soonest[2]} or soonest[2] == 0
        return
    now = done_at(moment, wanted, best)
    waits = now[0] == 0 and soonest[:2] < now
    assert bool(decisions.grants) is not waits
    if waits:
        assert _done(moment, wanted, decisions.promised_at["j"]) == soonest[1]


def _done(moment: Snapshot, wanted: QueuedJob, at: int) -> int:
    """When it is done at the earliest if it starts at a moment, all ways known."""
    (shape,) = wanted.shapes
    ends = []
    for cluster, kind in oracle.options(moment.fleet, _free_at(moment, at), wanted, shape):
        unknown, seconds = oracle.brought(moment, wanted, cluster)
        if not unknown and oracle.net_price(moment, wanted, cluster, kind) is not None:
            ends.append(at + (seconds + oracle.run_seconds(moment, wanted, shape, kind)) * SECOND)
    return min(ends)


@settings(max_examples=100, deadline=None)
@given(choices())
def test_the_choice_is_the_same_where_nodes_are_chosen_by_waste(moment: Snapshot) -> None:
    (wanted,) = moment.queue
    best = oracle.preferred(moment, wanted)
    decisions = cycle(replace(moment, packing=Packing.of(CITY, {gang(): 1, gang(per_node=4): 1}), runs=()))
    assert bool(decisions.grants) == (best is not None)
    for grant in decisions.grants:
        assert best is not None and (CITY.clusters[grant.place.cluster], grant.place.kind) in best[1]


@settings(max_examples=100, deadline=None)
@given(choices())
def test_what_is_quoted_first_is_what_a_round_then_grants(moment: Snapshot) -> None:
    (wanted,) = moment.queue
    decisions = cycle(moment)
    found = answer(replace(moment, queue=[]), wanted)
    now: list[Option] = [each for each in found.options if each.now]
    assert found.verdict == ("fit" if decisions.grants else "wait")
    for grant in decisions.grants:
        assert (now[0].alternative, now[0].offer.place, found.reasons) == (grant.alternative, grant.place, (grant.reason,))
