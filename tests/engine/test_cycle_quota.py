"""Quotas in a round: borrowing what others leave, waiting beyond, and taking back what was lent."""

import pytest

from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob, held
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.snapshot import ActiveRun, Decisions, Snapshot
from tests.engine.builders import HOPPER, SECOND, gang, job, node, place, run, snapshot

CARDS = 1000
FLEET = Fleet.of([node(f"n{number}") for number in range(4)])
TREE = (
    Queue("city", nominal={}),
    Queue("lab", parent="city", nominal={"model:910B3": 16 * CARDS}),
    Queue("firm", parent="city", nominal={"model:910B3": 16 * CARDS}, borrowing_limit={"model:910B3": 8 * CARDS}),
)


def decide(queue: list[QueuedJob], runs: list[ActiveRun], tree: tuple[Queue, ...] = TREE) -> Decisions:
    quotas = Quotas.of(tree)
    for each in runs:
        quotas.use(each.queue, held(FLEET, each.place))
    return cycle(Snapshot(**{**vars(snapshot(FLEET, queue, runs, now=100 * SECOND)), "quotas": quotas}))


def of(queue: str, name: str, **rest: int) -> ActiveRun:
    return run(name, place(FLEET, name), queue=queue, preemptible=False, **rest)


def test_a_queue_borrows_what_others_leave_up_to_its_limit() -> None:
    jobs = [job(f"j{number}", gang(1), queue="firm", submitted_at=number) for number in range(4)]
    decisions = decide(jobs, [])
    assert [grant.job for grant in decisions.grants] == ["j0", "j1", "j2"], "two of its own, one borrowed"
    (reason,) = decisions.verdicts["j3"].reasons
    assert reason.code == "waiting_for_quota"
    assert dict(reason.numbers) == {
        "queue": "firm",
        "resource": "model:910B3",
        "needed": "8",
        "available": "0",
        "nominal": "16",
        "used": "24",
    }
    assert "firm" in reason.text("zh")


def test_an_elastic_gang_takes_what_its_quota_leaves() -> None:
    (grant,) = decide([job("j", gang(4, min_nodes=3), queue="firm")], []).grants
    assert grant.place.nodes == 3


def test_a_queue_nobody_knows_is_unlimited() -> None:
    assert len(decide([job("j", gang(4), queue="elsewhere")], []).grants) == 1


def test_a_lender_takes_back_what_it_lent_and_no_more() -> None:
    borrowed = [of("firm", "n0", safe_at=0), of("firm", "n1", safe_at=50 * SECOND), of("firm", "n2", safe_at=90 * SECOND)]
    first, second = (job(name, gang(1), queue="lab", submitted_at=number) for number, name in enumerate(("first", "second")))
    decisions = decide([first, second], borrowed)
    assert [grant.job for grant in decisions.grants] == ["first"], "one node is free"
    assert [(each.attempt, each.by) for each in decisions.preemptions] == [("n2", "second")], "the one that loses least"
    assert decisions.verdicts["second"].reasons[0].code == "waiting_for_release"


def test_each_of_two_lenders_jobs_takes_back_its_own_share() -> None:
    """What one takes back is counted as used by it at once: the next cannot count on the same."""
    lent = (TREE[0], TREE[1], Queue("firm", parent="city", nominal={"model:910B3": 16 * CARDS}))
    runs = [of("firm", f"n{number}", safe_at=number * SECOND) for number in range(4)]
    jobs = [job(f"j{number}", gang(1), queue="lab", submitted_at=number) for number in range(3)]
    decisions = decide(jobs, runs, lent)
    assert [(each.attempt, each.by) for each in decisions.preemptions] == [("n3", "j0"), ("n2", "j1")]
    assert decisions.verdicts["j2"].reasons[0].code == "waiting_for_quota", "a third would have to borrow"


def test_a_borrowed_gang_is_left_its_minimum_run_time() -> None:
    borrowed = [of("firm", f"n{number}", protected_until=160 * SECOND) for number in range(4)]
    free_limit = (TREE[0], TREE[1], Queue("firm", parent="city", nominal={"model:910B3": 16 * CARDS}))
    decisions = decide([job("j", gang(1), queue="lab")], borrowed, free_limit)
    assert decisions.preemptions == ()
    held = decisions.verdicts["j"].reasons[-1]
    assert (held.code, held.numbers["until"]) == ("held_by_min_runtime", "1970-01-01T00:02:40Z")


def test_who_would_borrow_takes_nothing_back() -> None:
    runs = [of("lab", "n0"), of("lab", "n1"), of("firm", "n2"), of("firm", "n3")]
    decisions = decide([job("j", gang(1), queue="lab")], runs)
    assert decisions.preemptions == ()
    assert decisions.verdicts["j"].reasons[0].code == "waiting_for_quota"


def test_what_is_being_released_is_not_taken_twice() -> None:
    runs = [of("firm", "n0"), of("firm", "n1"), of("firm", "n2"), of("firm", "n3")]
    free_limit = (TREE[0], TREE[1], Queue("firm", parent="city", nominal={"model:910B3": 16 * CARDS}))
    lender = job("j", gang(1), queue="lab")
    first = decide([lender], runs, free_limit)
    (stopped,) = first.preemptions
    releasing = [each if each.attempt != stopped.attempt else of("firm", each.attempt, releasing=True) for each in runs]
    again = decide([lender], releasing, free_limit)
    assert again.preemptions == ()
    assert again.verdicts["j"].reasons[0].code == "waiting_for_release"


@pytest.mark.parametrize("limit", [1, 2])
def test_the_number_of_running_jobs_is_limited(limit: int) -> None:
    tree = (Queue("firm", max_running=limit),)
    jobs = [job(f"j{number}", gang(1, 1), queue="firm", submitted_at=number) for number in range(3)]
    decisions = decide(jobs, [], tree)
    assert len(decisions.grants) == limit
    assert dict(decisions.verdicts["j2"].reasons[0].numbers)["resource"] == "running"


def test_only_borrowers_it_cannot_do_without_are_stopped() -> None:
    """The one that loses least holds one card, which does not bring the lender within its quota: it goes on."""
    tree = (Queue("city"), Queue("lab", "city", {"model:910B3": 8 * CARDS}), Queue("firm", "city", {"model:910B3": 16 * CARDS}))
    small = run("small", place(FLEET, "n3", cards=1), queue="firm", preemptible=False, safe_at=99 * SECOND)
    seven = run("seven", place(FLEET, "n2", cards=7), queue="firm", preemptible=False, safe_at=0)
    runs = [of("firm", "n0", safe_at=0), of("firm", "n1", safe_at=50 * SECOND), seven, small]
    decisions = decide([job("j", gang(1), queue="lab")], runs, tree)
    assert [each.attempt for each in decisions.preemptions] == ["n1"]


def test_the_first_that_waits_for_quota_is_not_passed_by_smaller_ones_behind_it() -> None:
    """Nor by those of other queues that would have to borrow; who stays within its own queue's quota may go on."""
    runs = [of("lab", "n0"), of("lab", "n1"), of("firm", "n2")]
    large = job("large", gang(2), queue="lab", submitted_at=1)
    small = job("small", gang(1, 1), queue="lab", submitted_at=2)
    own = job("own", gang(1, 1), queue="firm", submitted_at=3)
    decisions = decide([large, small, own], runs)
    assert [grant.job for grant in decisions.grants] == ["own"]
    assert [decisions.verdicts[each].reasons[0].code for each in ("large", "small")] == ["waiting_for_quota"] * 2


def test_a_job_that_could_never_have_its_quota_keeps_nothing() -> None:
    huge, small = job("huge", gang(4), queue="firm", submitted_at=1), job("small", gang(1), queue="firm", submitted_at=2)
    assert [grant.job for grant in decide([huge, small], []).grants] == ["small"], "firm may never use more than three nodes"


def test_what_quota_closes_is_not_what_a_job_waits_for_elsewhere() -> None:
    """Free cards that its queue may not use are no reason; those of another model that are busy are, and both are said."""
    fleet = Fleet.of([node("n0"), node("n1"), node("h0", kind=HOPPER)])
    quotas = Quotas.of([Queue("lab", nominal={"model:910B3": 0})])
    busy = run("r", place(fleet, "h0"), preemptible=False)
    queue = [job("j", gang(1, models=frozenset({"910B3", "H800"})), queue="lab")]
    verdict = cycle(Snapshot(**{**vars(snapshot(fleet, queue, [busy])), "quotas": quotas})).verdicts["j"]
    assert [(each.code, each.numbers.get("free")) for each in verdict.reasons] == [
        ("waiting_for_cards", 0),
        ("waiting_for_quota", None),
    ]


def test_what_could_never_fit_does_not_wait_for_quota() -> None:
    verdict = decide([job("j", gang(5), queue="firm")], []).verdicts["j"]
    assert (verdict.kind, verdict.reasons[0].code) == ("never", "never_larger_than_cluster")


@pytest.mark.parametrize("protected_until", [0, 500 * SECOND])
def test_nobody_is_stopped_for_what_only_quota_keeps_waiting(protected_until: int) -> None:
    """One model is free but closed by quota; of the other there is a cluster it could never have, and a run beside it."""
    fleet = Fleet.of([node("n0"), node("n1"), node("h0", kind=HOPPER)])
    quotas = Quotas.of([Queue("lab", nominal={"model:910B3": 0})])
    others = [
        run("low", place(fleet, "n0", cards=4), protected_until=protected_until),
        run("high", place(fleet, "h0"), priority=90),
    ]
    urgent = job("j", gang(1, models=frozenset({"910B3", "H800"})), queue="lab", priority=75)
    decisions = cycle(Snapshot(**{**vars(snapshot(fleet, [urgent], others)), "quotas": quotas}))
    assert decisions.preemptions == ()
    assert [each.code for each in decisions.verdicts["j"].reasons] == ["waiting_for_cards", "waiting_for_quota"]
