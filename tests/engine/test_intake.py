"""What clusters take: a limit of grants they have not taken up, and no job they have just refused."""

from dataclasses import replace

from scheduler.contract.job import Profile
from scheduler.engine.answers import answer
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import BackOff
from scheduler.engine.snapshot import Decisions, InFlight, Snapshot
from tests.engine.builders import HOPPER, SECOND, gang, job, node, place, run, snapshot

TWO = Fleet.of([node(f"{cluster}{number}", cluster) for cluster in "ab" for number in range(3)])
JOBS = [job(f"j{number}", submitted_at=number) for number in range(5)]


def where(fleet: Fleet, decisions: Decisions) -> list[str]:
    return [fleet.clusters[grant.place.cluster] for grant in decisions.grants]


def limited(moment: Snapshot, **in_flight: tuple[int, int]) -> Snapshot:
    return replace(moment, in_flight={cluster: InFlight(*each) for cluster, each in in_flight.items()})


def test_each_grant_of_the_round_counts_against_the_limit() -> None:
    decisions = cycle(limited(snapshot(TWO, JOBS), a=(0, 2), b=(1, 2)))
    assert where(TWO, decisions) == ["a", "a", "b"]
    assert [verdict.reasons[0].code for verdict in decisions.verdicts.values()] == ["waiting_for_in_flight"] * 2
    assert decisions.verdicts["j4"].reasons[0].text() == (
        "a has 2 grant(s) it has not taken up yet, of at most 2; it is offered again once it has"
    )


def test_a_full_cluster_is_passed_over_for_another_that_fits() -> None:
    assert where(TWO, cycle(limited(snapshot(TWO, JOBS[:1]), a=(7, 7)))) == ["b"]


def test_who_only_waits_for_a_cluster_to_take_up_grants_stops_nobody() -> None:
    running = [run("r", place(TWO, "b0", cluster="b"), priority=0)]
    urgent = [job(f"j{number}", priority=100) for number in range(3)]
    decisions = cycle(limited(snapshot(TWO, urgent, running), a=(1, 1)))
    assert (where(TWO, decisions), decisions.preemptions) == (["b", "b"], ())
    assert decisions.verdicts["j2"].reasons[0].code == "waiting_for_in_flight"


def test_what_is_too_large_even_so_is_told_of_cards() -> None:
    decisions = cycle(limited(snapshot(TWO, [job("j", gang(4))]), a=(1, 1), b=(1, 1)))
    assert decisions.verdicts["j"].reasons[0].code == "never_larger_than_cluster"


def test_a_job_is_not_sent_where_it_was_refused_until_its_time_is_over() -> None:
    kept = job("j", back_off=(BackOff("a", 30 * SECOND),))
    assert where(TWO, cycle(snapshot(TWO, [kept], now=30 * SECOND - 1))) == ["b"]
    assert where(TWO, cycle(snapshot(TWO, [kept], now=30 * SECOND))) == ["a"]


def test_refused_everywhere_it_waits_and_is_told_how_long() -> None:
    kept = job("j", back_off=(BackOff("a", 30 * SECOND), BackOff("b", 9 * SECOND + 1)))
    (verdict,) = cycle(snapshot(TWO, [kept], now=SECOND)).verdicts.values()
    assert verdict.kind == "wait"
    assert [(reason.code, dict(reason.numbers)) for reason in verdict.reasons] == [
        ("waiting_after_refusal", {"cluster": "b", "seconds": 9}),
        ("waiting_after_refusal", {"cluster": "a", "seconds": 29}),
    ]


def test_what_fits_nowhere_is_never_whoever_refused_it() -> None:
    kept = job("j", gang(9), back_off=(BackOff("a", 30 * SECOND),))
    (verdict,) = cycle(snapshot(TWO, [kept])).verdicts.values()
    assert verdict.kind == "never"


def test_nobody_is_stopped_where_the_job_was_refused() -> None:
    runs = [run(each.name, place(TWO, each.name, cluster=each.cluster), priority=0) for each in TWO.nodes]
    kept = job("j", priority=100, back_off=(BackOff("a", 30 * SECOND),))
    decisions = cycle(snapshot(TWO, [kept], runs))
    assert [each.attempt[0] for each in decisions.preemptions] == ["b"]


def test_domestic_first_does_not_go_abroad_because_it_was_refused_once() -> None:
    fleet = Fleet.of([node("d", "d"), node("f", "f", HOPPER)])
    kept = job("j", profile=Profile.DOMESTIC_FIRST, back_off=(BackOff("d", 30 * SECOND),))
    assert cycle(snapshot(fleet, [kept])).grants == ()
    assert where(fleet, cycle(snapshot(fleet, [kept], now=30 * SECOND))) == ["d"]


def test_an_answer_says_why_not_there() -> None:
    kept = job("j", back_off=(BackOff("a", 30 * SECOND),))
    found = answer(limited(snapshot(TWO, []), b=(3, 3)), kept)
    assert found.verdict == "wait"
    assert {each.cluster: [reason.code for reason in each.reasons] for each in found.refusals} == {
        "a": ["waiting_after_refusal"],
        "b": ["waiting_for_in_flight", "waiting_after_refusal"],
    }
