"""One round: who is granted what, at which price, and what is kept for whom."""

from scheduler.domain.reasons import Reason
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.offers import offers
from scheduler.engine.snapshot import Decisions
from tests.engine.builders import ASCEND, HOPPER, PriceBook, gang, job, node, place, quote, run, snapshot

TWO_MODELS = Fleet.of([node("n1"), node("n2", kind=HOPPER)])


def _granted(decisions: Decisions) -> list[str]:
    return [grant.job for grant in decisions.grants]


def test_an_empty_queue_decides_nothing() -> None:
    assert cycle(snapshot(TWO_MODELS, [])) == Decisions((), (), {})


def test_grants_of_a_round_are_deducted_at_once() -> None:
    fleet = Fleet.of([node("n1")])
    decisions = cycle(snapshot(fleet, [job("first", submitted_at=1), job("second", submitted_at=2)]))
    assert _granted(decisions) == ["first"]
    assert decisions.verdicts["second"].kind == "wait"
    assert decisions.verdicts["second"].reasons[0] == Reason(
        "waiting_for_cards",
        {"nodes": 1, "per_node": 8, "what": "any-model", "level": "cluster", "cluster": "a", "free": 0, "total": 1},
    )


def test_a_smaller_job_behind_one_that_waits_may_start() -> None:
    fleet = Fleet.of([node("n1"), node("n2")])
    half = run("half", place(fleet, "n1", cards=4), preemptible=False)
    decisions = cycle(snapshot(fleet, [job("large", gang(2), submitted_at=1), job("small", gang(1, 4), submitted_at=2)], [half]))
    assert _granted(decisions) == ["small"]


def test_the_cheapest_place_after_voucher_wins_and_says_so() -> None:
    prices: PriceBook = {("full", "a", "910B3"): quote(80), ("full", "a", "H800"): quote(90)}
    prices |= {("voucher", "a", "910B3"): quote(80), ("voucher", "a", "H800"): quote(45)}
    for terms, model in (("full", "910B3"), ("voucher", "H800")):
        (grant,) = cycle(snapshot(TWO_MODELS, [job("j", terms=terms)], prices=prices)).grants
        assert TWO_MODELS.kinds[grant.place.kind].model == model
        assert grant.reason.code == "placed_cheapest_net"
        assert grant.reason.numbers["places"] == 2
    assert grant.reason.numbers["net"] == "0.000360", "8 cards at 45 micro-CNY an hour"
    assert grant.reason.numbers["list"] == "0.000800"


def test_the_only_place_is_called_so() -> None:
    (grant,) = cycle(snapshot(TWO_MODELS, [job("j", gang(models=frozenset({"H800"})))])).grants
    assert grant.reason.code == "placed_only_fit"


def test_a_place_without_a_price_is_not_offered() -> None:
    prices: PriceBook = {("", "a", "H800"): quote(10**6)}
    (grant,) = cycle(snapshot(TWO_MODELS, [job("j")], prices=prices)).grants
    assert TWO_MODELS.kinds[grant.place.kind] == HOPPER
    assert [
        offer.net_per_hour for offer in offers(snapshot(TWO_MODELS, [], prices=prices), TWO_MODELS.empty, job("j"), gang())
    ] == [8 * 10**6]


def test_alternatives_are_tried_in_their_order_whatever_they_cost() -> None:
    prices: PriceBook = {("", "a", "910B3"): quote(1), ("", "a", "H800"): quote(1000)}
    preferred, other = gang(models=frozenset({"H800"})), gang(models=frozenset({"910B3"}))
    (grant,) = cycle(snapshot(TWO_MODELS, [job("j", preferred, other)], prices=prices)).grants
    assert (grant.alternative, TWO_MODELS.kinds[grant.place.kind]) == (0, HOPPER)
    (grant,) = cycle(snapshot(TWO_MODELS, [job("j", gang(5), other)], prices=prices)).grants
    assert (grant.alternative, TWO_MODELS.kinds[grant.place.kind]) == (1, ASCEND)


def test_an_elastic_gang_does_not_prefer_the_place_where_it_gets_less() -> None:
    fleet = Fleet.of([node("n1", cluster="small"), *(node(f"n{number}", cluster="wide") for number in range(4))])
    prices: PriceBook = {("", "small", "910B3"): quote(100), ("", "wide", "910B3"): quote(100)}
    (grant,) = cycle(snapshot(fleet, [job("j", gang(4, min_nodes=1))], prices=prices)).grants
    assert (fleet.clusters[grant.place.cluster], grant.place.nodes) == ("wide", 4)
    prices["", "small", "910B3"] = quote(99)
    (grant,) = cycle(snapshot(fleet, [job("j", gang(4, min_nodes=1))], prices=prices)).grants
    assert fleet.clusters[grant.place.cluster] == "small"


def test_a_held_job_is_not_tried() -> None:
    hold = Reason("waiting_for_dependency", {"jobs": "job-1"})
    decisions = cycle(snapshot(TWO_MODELS, [job("j", hold=hold)]))
    assert decisions.grants == ()
    assert decisions.verdicts["j"].reasons == (hold,)


def test_only_the_clusters_a_job_may_use() -> None:
    fleet = Fleet.of([node("n1"), node("n1", cluster="b")])
    (grant,) = cycle(snapshot(fleet, [job("j", clusters=frozenset({"b"}))])).grants
    assert fleet.clusters[grant.place.cluster] == "b"
    decisions = cycle(snapshot(fleet, [job("j", clusters=frozenset())]))
    assert decisions.verdicts["j"].kind == "never"


def test_cards_that_are_being_released_are_kept_for_who_waits_for_them() -> None:
    fleet = Fleet.of([node("n1"), node("n2")])
    leaving = run("leaving", place(fleet, "n1"), releasing=True)
    queue = [job("large", gang(2), submitted_at=1), job("small", gang(1), submitted_at=2)]
    decisions = cycle(snapshot(fleet, queue, [leaving]))
    assert decisions.grants == ()
    assert decisions.verdicts["large"].reasons == (Reason("waiting_for_release", {"cluster": "a", "runs": 1}),)
    assert decisions.verdicts["small"].reasons[0].code == "waiting_for_cards", "n2 is free, but kept"


def test_one_victim_can_make_room_for_two() -> None:
    """The second finds the room that the first left of what its victim releases, and says who releases it."""
    fleet = Fleet.of([node("n1")])
    victim = run("victim", place(fleet, "n1"))
    queue = [job("one", gang(1, 4), submitted_at=1), job("two", gang(1, 3), submitted_at=2)]
    decisions = cycle(snapshot(fleet, queue, [victim]))
    assert [(each.attempt, each.by) for each in decisions.preemptions] == [("victim", "one")]
    for waiting in ("one", "two"):
        assert decisions.verdicts[waiting].reasons == (Reason("waiting_for_release", {"cluster": "a", "runs": 1}),)
