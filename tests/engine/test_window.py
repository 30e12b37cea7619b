"""Maintenance and reservations: who is kept off which nodes when, who is stopped, and who is tried there first."""

from dataclasses import replace

import pytest

from scheduler.contract.window import WindowKind
from scheduler.engine.cycle import cycle
from scheduler.engine.drain import ending_by
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.snapshot import ActiveRun, Decisions
from scheduler.engine.window import Window
from tests.engine.builders import SECOND, gang, job, node, place, run, snapshot

FOUR = Fleet.of([node(f"n{number}") for number in range(4)])
TWO = Fleet.of([node("n0"), node("n1")])


def maintenance(start: int, end: int, *nodes: int) -> Window:
    return Window("w", WindowKind.MAINTENANCE, start * SECOND, end * SECOND, 0, frozenset(nodes))


def reservation(start: int, end: int, *nodes: int, tenant: str = "lab") -> Window:
    return Window("r", WindowKind.RESERVATION, start * SECOND, end * SECOND, 0, frozenset(nodes), frozenset({tenant}))


def decide(fleet: Fleet, queue: list[QueuedJob], *windows: Window, runs: tuple[ActiveRun, ...] = (), now: int = 0) -> Decisions:
    return cycle(replace(snapshot(fleet, queue, runs, now=now * SECOND), windows=windows))


def granted(decisions: Decisions) -> list[str]:
    return [grant.job for grant in decisions.grants]


@pytest.mark.parametrize(
    ("runtime", "starts"), [(100, True), (101, False), (None, False)], ids=["ends at its start", "a second later", "nobody knows"]
)
def test_a_job_that_ends_by_the_start_may_use_the_nodes_until_then(runtime: int | None, starts: bool) -> None:
    decisions = decide(TWO, [job("j", gang(2), max_runtime_seconds=runtime)], maintenance(100, 200, 1))
    assert granted(decisions) == (["j"] if starts else [])
    if not starts:
        (reason,) = decisions.verdicts["j"].reasons
        assert reason.code == "waiting_for_window"
        assert dict(reason.numbers) == {
            "cluster": "a",
            "kind": "maintenance",
            "start": "1970-01-01T00:01:40Z",
            "end": "1970-01-01T00:03:20Z",
        }
        assert "维护" in reason.text("zh")


def test_a_job_goes_around_a_window_where_it_can() -> None:
    (grant,) = decide(TWO, [job("j", max_runtime_seconds=500)], maintenance(100, 200, 0)).grants
    assert [part.node for part in grant.place.allocations] == [1]


def test_who_waits_for_a_window_is_promised_its_end() -> None:
    decisions = decide(TWO, [job("j", gang(2), max_runtime_seconds=500)], maintenance(100, 200, 1))
    assert decisions.promised_at == {"j": 200 * SECOND}


def test_a_promise_that_would_reach_into_a_window_is_made_for_after_it() -> None:
    """Its nodes are free at 50 s, but at 100 s one of them is in maintenance; a shorter job would be promised 50 s."""
    busy = run("busy", place(TWO, "n0"), preemptible=False, ends_at=50 * SECOND)
    for runtime, at in ((500, 200), (50, 50)):
        decisions = decide(TWO, [job("j", gang(2), max_runtime_seconds=runtime)], maintenance(100, 200, 0), runs=(busy,))
        assert decisions.promised_at == {"j": at * SECOND}


def test_whoever_is_there_at_the_start_is_asked_to_stop_then_and_not_before() -> None:
    old = run("old", place(TWO, "n0"), preemptible=False, ends_at=500 * SECOND)
    beside = run("beside", place(TWO, "n1"), ends_at=500 * SECOND)
    window = maintenance(100, 200, 0)
    assert decide(TWO, [], window, runs=(old, beside), now=99).preemptions == ()
    (asked,) = decide(TWO, [], window, runs=(old, beside), now=100).preemptions
    assert (asked.attempt, asked.by, asked.window) == ("old", None, window)
    assert decide(TWO, [], window, runs=(replace(old, releasing=True), beside), now=101).preemptions == ()


def test_what_is_stopped_for_a_window_is_free_for_others_where_the_window_does_not_reach() -> None:
    """A gang over both nodes is stopped because of one: a job gets the other as soon as it has stopped."""
    both = run("both", replace(place(TWO, "n0"), allocations=(*place(TWO, "n0").allocations, *place(TWO, "n1").allocations)))
    decisions = decide(TWO, [job("j", max_runtime_seconds=500)], maintenance(100, 200, 0), runs=(both,), now=100)
    assert decisions.verdicts["j"].reasons[0].code == "waiting_for_release"
    decisions = decide(TWO, [job("j", gang(2), max_runtime_seconds=500)], maintenance(100, 200, 0), runs=(both,), now=100)
    assert decisions.verdicts["j"].reasons[0].code == "waiting_for_window"


def test_nobody_is_stopped_for_a_job_that_could_not_use_the_place() -> None:
    lower = run("lower", place(TWO, "n0"), ends_at=500 * SECOND)
    urgent = job("urgent", priority=75, max_runtime_seconds=1000)
    busy = run("busy", place(TWO, "n1"), priority=90, ends_at=500 * SECOND)
    assert decide(TWO, [urgent], maintenance(2000, 3000, 0), runs=(lower, busy)).preemptions != ()
    assert decide(TWO, [urgent], maintenance(1000, 3000, 0), runs=(lower, busy)).preemptions == (), "not before lower has stopped"


def test_a_reservation_binds_all_but_its_beneficiaries() -> None:
    queue = [job("other", tenant="firm", max_runtime_seconds=500), job("mine", tenant="lab", max_runtime_seconds=100)]
    for now in (0, 100):
        decisions = decide(Fleet.of([node("n0")]), queue, reservation(100, 200, 0), now=now)
        assert granted(decisions) == ["mine"]
        assert decisions.verdicts["other"].reasons[0].code in ("waiting_for_window", "waiting_for_cards")


def test_its_beneficiaries_must_end_by_its_end() -> None:
    one = Fleet.of([node("n0")])
    for runtime, starts in ((100, True), (101, False)):
        decisions = decide(one, [job("j", tenant="lab", max_runtime_seconds=runtime)], reservation(100, 200, 0), now=100)
        assert granted(decisions) == (["j"] if starts else [])


def test_its_beneficiaries_are_tried_there_first_while_it_is_open() -> None:
    mine = job("mine", tenant="lab", max_runtime_seconds=50)
    first = Fleet.of([node("n0", cards=8), node("n1", cards=16)])
    (grant,) = decide(first, [mine], reservation(100, 200, 1), now=100).grants
    assert [part.node for part in grant.place.allocations] == [1], "best fit alone would take n0"
    assert grant.reason.code == "placed_reserved"
    (grant,) = decide(first, [mine], reservation(100, 200, 1), now=0).grants
    assert ([part.node for part in grant.place.allocations], grant.reason.code) == ([0], "placed_only_fit")


def test_others_backfill_a_reservation_up_to_its_start() -> None:
    queue = [
        job("fits", tenant="firm", max_runtime_seconds=100),
        job("late", tenant="firm", submitted_at=1, max_runtime_seconds=101),
    ]
    assert granted(decide(TWO, queue, reservation(100, 200, 0, 1))) == ["fits"]


def test_at_the_start_of_a_reservation_others_are_stopped_and_its_beneficiaries_go_on() -> None:
    runs = (
        run("other", place(TWO, "n0"), ends_at=500 * SECOND),
        replace(run("mine", place(TWO, "n1"), ends_at=150 * SECOND), tenant="lab"),
    )
    (asked,) = decide(TWO, [], reservation(100, 200, 0, 1), runs=runs, now=100).preemptions
    assert asked.attempt == "other"


def test_a_run_ends_at_the_latest_when_its_window_opens() -> None:
    old = run("old", place(TWO, "n0"), ends_at=500 * SECOND)
    assert ending_by([maintenance(100, 200, 0)], old, 0).ends_at == 100 * SECOND
    assert ending_by([maintenance(100, 200, 0)], old, 150 * SECOND).ends_at == 150 * SECOND
    assert ending_by([maintenance(100, 200, 1)], old, 0) == old
    assert ending_by([maintenance(500, 600, 0)], old, 0) == old
    assert ending_by([reservation(100, 600, 0)], replace(old, tenant="lab"), 0).ends_at == 500 * SECOND


def test_a_window_does_not_make_a_job_impossible() -> None:
    decisions = decide(TWO, [job("large", gang(3)), job("blocked", gang(2))], maintenance(0, 100, 0, 1))
    assert decisions.verdicts["large"].kind == "never"
    assert (decisions.verdicts["blocked"].kind, decisions.verdicts["blocked"].reasons[0].code) == ("wait", "waiting_for_window")


def test_what_binds_is_said_whether_or_not_the_nodes_are_free() -> None:
    """A gang that needs a node of the window waits for its end; one that could do without waits for cards."""
    busy = run("busy", place(FOUR, "n0"), preemptible=False)
    queue = [job("all", gang(4), max_runtime_seconds=500), job("some", gang(2), submitted_at=1, max_runtime_seconds=500)]
    runs = (busy, run("more", place(FOUR, "n1"), preemptible=False), run("most", place(FOUR, "n2"), preemptible=False))
    decisions = decide(FOUR, queue, maintenance(100, 200, 3), runs=runs)
    assert {id_: verdict.reasons[0].code for id_, verdict in decisions.verdicts.items()} == {
        "all": "waiting_for_window",
        "some": "waiting_for_cards",
    }


def test_no_job_behind_a_promise_is_bound_where_only_the_promised_job_is() -> None:
    """The head may not use n3, which has maintenance later; a job that ends before may, and delays nobody."""
    head = job("head", gang(3), submitted_at=1, max_runtime_seconds=5000)
    small = job("small", gang(1), submitted_at=2, max_runtime_seconds=700)
    runs = tuple(run(name, place(FOUR, name), preemptible=False, ends_at=100 * SECOND) for name in ("n0", "n1", "n2"))
    decisions = decide(FOUR, [head, small], maintenance(1000, 2000, 3), runs=runs)
    assert (decisions.promised_at, granted(decisions)) == ({"head": 100 * SECOND}, ["small"])
