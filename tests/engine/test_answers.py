"""What is said of one job: by hand on small networks, and in general that the engine agrees with itself."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.contract.job import Profile
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.reasons import Reason
from scheduler.domain.topology import RACK
from scheduler.engine import what_if
from scheduler.engine.answers import Answer, PastUse, Position, answer
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.history import History
from scheduler.engine.order import QueuedJob, held, in_order, resource_amounts
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import FOREVER, Backfill, Snapshot
from scheduler.engine.start import Method, Start
from scheduler.engine.what_if import Variation
from tests.engine.builders import HOPPER, SECOND, PriceBook, gang, job, node, place, quote, run, snapshot
from tests.engine.strategies import NOW, snapshots

TWO = Fleet.of([node("n1"), node("n2", cluster="b", kind=HOPPER)])
FOUR = Fleet.of([node(f"n{number}") for number in range(4)])
CARDS = {"nodes": 1, "per_node": 8}


def where(fleet: Fleet, found: Answer, now: bool = True) -> list[str]:
    return [fleet.clusters[option.offer.place.cluster] for option in found.options if option.now is now]


def helpful(found: Answer) -> dict[str, dict[str, str | int]]:
    return {change.reason.code: dict(change.reason.numbers) for change in found.changes}


def refused(found: Answer) -> dict[str, tuple[str, ...]]:
    return {each.cluster: tuple(reason.code for reason in each.reasons) for each in found.refusals}


def test_a_job_that_fits_is_told_every_place_cheapest_first() -> None:
    prices: PriceBook = {("", "a", "910B3"): quote(80), ("", "b", "H800"): quote(45)}
    found = answer(snapshot(TWO, [], prices=prices, now=7 * SECOND), job("j"))
    assert (found.verdict, found.reasons[0].code) == ("fit", "placed_cheapest_net")
    assert where(TWO, found) == ["b", "a"]
    assert [(each.offer.list_per_hour, each.offer.net_per_hour) for each in found.options] == [(800, 360), (800, 640)]
    assert found.start == Start(7 * SECOND, 7 * SECOND, Method.NOW)
    assert (found.position.ahead, found.refusals, found.changes, found.limited) == (0, (), (), False)


def test_alternatives_come_in_their_order_before_price() -> None:
    prices: PriceBook = {("", "a", "910B3"): quote(80), ("", "b", "H800"): quote(45)}
    preferred, other = gang(models=frozenset({"910B3"})), gang(models=frozenset({"H800"}))
    assert where(TWO, answer(snapshot(TWO, [], prices=prices), job("j", preferred, other))) == ["a", "b"]


def test_who_stands_back_for_what_it_used_before_is_told_how_much_and_behind_how_many() -> None:
    history = History(24 * 3600 * SECOND, 0)
    history.begin("t", resource_amounts(HardwareClass.DOMESTIC, 16_000, 0), 0)
    history.end("t", resource_amounts(HardwareClass.DOMESTIC, 16_000, 0), 24 * 3600 * SECOND)
    others = [job(f"o{number}", tenant="other", submitted_at=9) for number in range(2)]
    moment = snapshot(Fleet.of([node("n1")]), others, now=24 * 3600 * SECOND)
    assert answer(moment, job("j")).position == Position(0, 0)
    fading = replace(moment, usage=replace(moment.usage, past=history.past(moment.now)))
    assert answer(fading, job("j")).position == Position(1, 1, PastUse(1, "domestic", 277, 24 * 3600))
    assert answer(fading, job("j", tenant="stranger")).position.past_use is None


def test_every_cluster_it_cannot_start_in_says_why() -> None:
    fleet = Fleet.of(
        [
            node("busy", cluster="busy"),
            node("small", cluster="small", cards=4),
            node("foreign", cluster="foreign", kind=HOPPER),
            node("silent", cluster="silent", live=False),
            node("dear", cluster="unpriced"),
            node("other", cluster="elsewhere"),
        ]
    )
    models = frozenset({"910B3"})
    allowed = frozenset({"busy", "small", "foreign", "silent", "unpriced"})
    prices: PriceBook = {("", cluster, "910B3"): quote(1) for cluster in ("busy", "small", "silent", "elsewhere")}
    running = [run("r", place(fleet, "busy", cluster="busy"), preemptible=False)]
    found = answer(snapshot(fleet, [], running, prices), job("j", gang(models=models), clusters=allowed))
    assert refused(found) == {
        "busy": ("place_busy",),
        "small": ("place_no_such_hardware",),
        "foreign": ("place_no_such_hardware",),
        "silent": ("place_silent",),
        "unpriced": ("place_unpriced",),
        "elsewhere": ("place_other_provider",),
    }
    assert found.refusals[0].reasons[0].text() == "needs 1 nodes × 8 × 910B3; 0 of its 1 such nodes are free now"
    assert (where(fleet, found), where(fleet, found, now=False)) == ([], ["busy"]), "what waiting for it would cost is told"
    assert found.start == Start(0, None, Method.UNKNOWN), "the run there never said how long it takes"


def test_a_gang_too_large_for_each_cluster_is_told_the_sizes() -> None:
    found = answer(snapshot(FOUR, []), job("j", gang(5), max_runtime_seconds=60))
    assert (found.verdict, found.start) == ("never", Start(None, None, Method.UNKNOWN))
    assert found.refusals[0].reasons == (
        Reason("place_too_small", {"nodes": 5, "per_node": 8, "what": "any-model", "level": "cluster", "cluster": "a", "total": 4}),
    )
    assert helpful(found) == {"change_fewer_nodes": {"nodes": 4, "asked": 5}}


def test_the_position_counts_who_is_served_before_and_who_of_them_competes() -> None:
    queue = [
        job("first", gang(models=frozenset({"910B3"})), priority=75),
        job("foreign", gang(models=frozenset({"H800"})), submitted_at=1),
        job("held", submitted_at=2, hold=Reason("waiting_for_round")),
        job("elsewhere", submitted_at=3, clusters=frozenset({"b"})),
        job("mine", gang(models=frozenset({"910B3"})), submitted_at=4, clusters=frozenset({"a"})),
        job("behind", submitted_at=5),
    ]
    found = answer(snapshot(TWO, queue), queue[4])
    assert (found.position.ahead, found.position.competing) == (4, 1)


def test_a_reserved_head_knows_when_it_starts_at_the_latest() -> None:
    running = [run(name, place(FOUR, name), preemptible=False, ends_at=at * SECOND) for name, at in (("n0", 100), ("n1", 300))]
    found = answer(snapshot(FOUR, [], running), job("head", gang(4), max_runtime_seconds=60))
    assert found.start == Start(0, 300 * SECOND, Method.PROMISED)


def test_who_is_behind_a_reservation_is_simulated_and_told_how_short_to_be() -> None:
    """The head waits for three nodes until 100 s and holds all four until 600 s; who is behind wants the free one for 200 s."""
    running = [run(name, place(FOUR, name), preemptible=False, ends_at=100 * SECOND) for name in ("n0", "n1", "n2")]
    head = job("head", gang(4), submitted_at=1, max_runtime_seconds=500)
    small = job("small", gang(1), submitted_at=2, max_runtime_seconds=200)
    found = answer(snapshot(FOUR, [head], running), small)
    assert [reason.code for reason in found.reasons] == ["waiting_behind_reservation"]
    assert found.start == Start(0, 600 * SECOND, Method.SIMULATED)
    assert refused(found) == {"a": ("waiting_behind_reservation",)}
    assert helpful(found) == {"change_shorter_runtime": {"max_runtime": "1m40s"}, "change_higher_priority": {"priority": 75}}


def test_who_waits_for_quota_is_told_when_it_comes_back() -> None:
    """Cards are free all along; what ends gives its queue the quota back."""
    fleet = Fleet.of([node("n0"), node("n1")])
    quotas = Quotas.of([Queue("lab", nominal={"model:910B3": 8000})])
    busy = run("r", place(fleet, "n0"), preemptible=False, ends_at=100 * SECOND, queue="lab")
    quotas.use("lab", held(fleet, busy.place))
    found = answer(replace(snapshot(fleet, [], [busy]), quotas=quotas), job("me", gang(1), queue="lab", max_runtime_seconds=10))
    assert found.reasons[0].code == "waiting_for_quota"
    assert found.start == Start(0, 100 * SECOND, Method.SIMULATED)


def test_without_known_ends_there_is_no_latest() -> None:
    found = answer(snapshot(FOUR, [], [run("r", place(FOUR, "n0"), preemptible=False)]), job("j", gang(4)))
    assert found.start == Start(0, None, Method.UNKNOWN)


@pytest.mark.parametrize(("free", "suggested"), [(0, None), (1, 1), (3, 3)])
def test_the_largest_gang_that_fits_is_suggested(free: int, suggested: int | None) -> None:
    running = [run(f"n{number}", place(FOUR, f"n{number}"), preemptible=False) for number in range(free, 4)]
    found = answer(snapshot(FOUR, [], running), job("j", gang(4)))
    assert helpful(found) == ({} if suggested is None else {"change_fewer_nodes": {"nodes": suggested, "asked": 4}})


def test_fewer_nodes_are_counted_beside_what_was_promised_to_others() -> None:
    """Two nodes of four are free; from 100 s on the head needs three of four: one stays for a job that runs on and on."""
    running = [run(name, place(FOUR, name), preemptible=False, ends_at=100 * SECOND) for name in ("n0", "n1")]
    head = job("head", gang(3), submitted_at=1, max_runtime_seconds=500)
    found = answer(snapshot(FOUR, [head], running), job("j", gang(3), submitted_at=2))
    assert helpful(found)["change_fewer_nodes"] == {"nodes": 1, "asked": 3}


def test_another_model_is_suggested_with_its_class() -> None:
    running = [run("r", place(TWO, "n1"), preemptible=False)]
    found = answer(snapshot(TWO, [], running), job("j", gang(hardware_class=HardwareClass.DOMESTIC)))
    assert helpful(found) == {"change_other_model": {"model": "H800", "class": "foreign"}}
    (change,) = found.changes
    assert (change.cluster, change.reason.text("zh")) == ("b", "同时接受 国外 H800")


def test_dropping_the_rack_is_suggested_where_that_helps() -> None:
    fleet = Fleet.of([node("n1", rack="r1"), node("n2", rack="r2")])
    found = answer(snapshot(fleet, []), job("j", gang(2, within=RACK)))
    assert set(helpful(found)) == {"change_fewer_nodes", "change_no_topology"}
    assert refused(found) == {"a": ("place_domain_too_small",)}


def test_a_higher_priority_says_how_many_would_stop_and_not_who() -> None:
    fleet = Fleet.of([node("n1")])
    halves = [run("secret-1", place(fleet, "n1", cards=4), priority=60)]
    other = replace(place(fleet, "n1"), allocations=(replace(place(fleet, "n1").allocations[0], slots=(4, 5, 6, 7)),))
    found = answer(snapshot(fleet, [], [*halves, run("secret-2", other, priority=60)]), job("j"))
    assert helpful(found) == {"change_preempts": {"priority": 75, "stops": 2}}
    (change,) = found.changes
    assert (change.stops, change.cluster, change.offer) == (2, "a", None)
    assert "secret" not in repr(found)


def test_where_room_is_being_made_already_no_priority_is_suggested() -> None:
    fleet = Fleet.of([node("n1")])
    found = answer(snapshot(fleet, [], [run("r", place(fleet, "n1"), priority=25, ends_at=50 * SECOND)]), job("j"))
    assert found.reasons[0].code == "waiting_for_release"
    assert helpful(found) == {}
    assert found.start == Start(0, 50 * SECOND, Method.SIMULATED), "who was asked to stop may take until its max_runtime"


def test_a_change_of_the_callers_own_is_tried_as_well() -> None:
    bound = job("j", clusters=frozenset({"a"}))
    running = [run("r", place(TWO, "n1"), preemptible=False)]
    free = Variation(replace(bound, clusters=None), Reason("change_no_contract", {"contract": "C"}))
    useless = Variation(replace(bound, clusters=frozenset({"a"})), Reason("change_other_contract", {"contract": "D"}))
    assert helpful(answer(snapshot(TWO, [], running), bound, [useless, free])) == {"change_no_contract": {"contract": "C"}}


def test_a_held_job_is_told_its_reason_and_what_places_cost() -> None:
    held = job("j", hold=Reason("waiting_for_dependency", {"jobs": "job-1"}))
    found = answer(snapshot(TWO, []), held)
    assert (found.verdict, found.reasons[0].code, found.start.method) == ("wait", "waiting_for_dependency", Method.UNKNOWN)
    assert (where(TWO, found), where(TWO, found, now=False)) == ([], ["a", "b"])
    assert (found.refusals, found.changes) == ((), ())


def test_too_much_work_is_left_undone_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if.Rounds, "decide", lambda rounds, _: setattr(rounds, "limited", True))
    running = [run("r", place(FOUR, "n0"), preemptible=False)]
    found = answer(snapshot(FOUR, [], running), job("j", gang(4)))
    assert (found.changes, found.limited) == ((), True)


many = settings(max_examples=80, deadline=None)


@st.composite
def moments(draw: st.DrawFn) -> tuple[Snapshot, QueuedJob]:
    """A moment in which jobs and runs may say how long they take, and one job of its queue."""
    moment = draw(snapshots())
    seconds = st.sampled_from((None, 60, 120, 600))
    ends = st.sampled_from((FOREVER, NOW + 60 * SECOND, NOW + 90 * SECOND, NOW + 300 * SECOND))
    queue = [replace(each, max_runtime_seconds=draw(seconds)) for each in moment.queue]
    runs = [replace(each, ends_at=draw(ends)) for each in moment.runs]
    return replace(moment, queue=queue, runs=runs, backfill=draw(st.sampled_from(Backfill))), draw(st.sampled_from(queue))


def instead(moment: Snapshot, changed: QueuedJob) -> Snapshot:
    return replace(moment, queue=[changed if each.id == changed.id else each for each in moment.queue])


@many
@given(moments())
def test_the_first_quoted_place_is_the_one_a_round_grants(asked: tuple[Snapshot, QueuedJob]) -> None:
    moment, mine = asked
    found, decisions = answer(moment, mine), cycle(moment)
    grants = {grant.job: grant for grant in decisions.grants}
    now = [option for option in found.options if option.now]
    if mine.id in grants:
        grant = grants[mine.id]
        assert (found.verdict, now[0].alternative, now[0].offer.place) == ("fit", grant.alternative, grant.place)
    else:
        assert now == [] or mine.profile is not Profile.CHEAPEST_NET, "there is room, but not where it would rather be"
        assert (found.verdict, found.reasons) == (decisions.verdicts[mine.id].kind, decisions.verdicts[mine.id].reasons)


@many
@given(moments())
def test_every_option_of_now_is_granted_to_a_job_that_may_go_nowhere_else(asked: tuple[Snapshot, QueuedJob]) -> None:
    moment, mine = asked
    for option in answer(moment, mine).options:
        if option.now:
            fleet, place_ = moment.fleet, option.offer.place
            kinds = {fleet.kinds[place_.kind].model} if place_.kind >= 0 else set[str]()
            shape: Shape = replace(mine.shapes[option.alternative], models=frozenset(kinds))
            only = replace(mine, shapes=(shape,), clusters=frozenset({fleet.clusters[place_.cluster]}))
            assert place_ in [grant.place for grant in cycle(instead(moment, only)).grants if grant.job == mine.id]


@many
@given(moments())
def test_every_suggested_change_is_granted_by_a_round(asked: tuple[Snapshot, QueuedJob]) -> None:
    moment, mine = asked
    for change in answer(moment, mine).changes:
        decisions = cycle(instead(moment, change.job))
        if change.offer is not None:
            assert change.offer.place in [grant.place for grant in decisions.grants if grant.job == mine.id]
        else:
            assert change.stops == sum(each.by == mine.id for each in decisions.preemptions) > 0


@many
@given(moments())
def test_the_position_is_the_index_in_the_order(asked: tuple[Snapshot, QueuedJob]) -> None:
    moment, mine = asked
    places = {grant.job: grant.place for grant in cycle(moment).grants}
    usage, order = moment.usage.copy(), []
    for each in in_order(moment.queue, usage, moment.weights, moment.now):
        order.append(each.id)
        if each.id in places:
            usage.add(each.tenant, places[each.id])
    position = answer(moment, mine).position
    assert position.ahead == order.index(mine.id)
    assert 0 <= position.competing <= position.ahead


@many
@given(moments())
def test_a_start_is_a_range_and_nobody_else_is_named(asked: tuple[Snapshot, QueuedJob]) -> None:
    moment, mine = asked
    found = answer(moment, mine)
    start = found.start
    assert (found.verdict == "fit") == (start.method is Method.NOW)
    assert start.earliest in (None, moment.now) or any(start.earliest == window.end for window in moment.windows)
    assert start.latest is None or start.latest >= (start.earliest or moment.now)
    assert (start.latest is None) == (start.method is Method.UNKNOWN)
    told = repr((found.reasons, found.refusals, [(change.reason, change.cluster) for change in found.changes]))
    others = [each.id for each in moment.queue if each.id != mine.id] + [each.attempt for each in moment.runs]
    assert not any(f"'{name}'" in told for name in others)
    assert found == answer(moment, mine)
