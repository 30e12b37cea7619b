"""Instances of MIG: given only to jobs that ask for them, counted and priced as their part of a card."""

from scheduler.engine.answers import answer
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Card, Fleet, Node
from scheduler.engine.offers import offers
from scheduler.engine.order import Usage, held, needs
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.shape import GIB
from scheduler.engine.snapshot import Snapshot
from tests.engine.builders import HOPPER, SECOND, SLICE, gang, job, node, place, quote, run, snapshot

CUT = Node("a", "cut", 64_000, 512 * GIB, (*(Card(f"MIG-{n}", SLICE) for n in range(4)), Card("GPU-7", HOPPER)))
FLEET = Fleet.of([CUT])
WISH = gang(1, 2, mig=SLICE.mig)


def test_an_instance_goes_to_who_asks_for_its_profile_and_a_card_to_who_asks_for_cards() -> None:
    more, other = gang(1, 3, mig=SLICE.mig), gang(1, 1, mig="1g.10gb")
    queue = [job("j1", WISH), job("j2", gang(1, 1)), job("j3", more), job("j4", other)]
    decisions = cycle(snapshot(FLEET, queue))
    taken = {grant.job: [CUT.cards[slot].device for slot in grant.place.allocations[0].slots] for grant in decisions.grants}
    assert taken == {"j1": ["MIG-0", "MIG-1"], "j2": ["GPU-7"]}
    assert decisions.verdicts["j3"].reasons[0].text("en").startswith("needs 1 nodes × 3 × any-model 3g.40gb;")
    assert decisions.verdicts["j4"].kind == "never"
    assert decisions.verdicts["j4"].reasons[0].text("en") == "no node it may use has 1 × any-model 1g.10gb"


def test_the_memory_asked_for_is_that_of_the_instance() -> None:
    assert cycle(snapshot(FLEET, [job("j", gang(1, 1, mig=SLICE.mig, card_memory_bytes=40 * GIB))])).grants
    assert not cycle(snapshot(FLEET, [job("j", gang(1, 1, mig=SLICE.mig, card_memory_bytes=41 * GIB))])).grants


def test_it_counts_as_its_part_of_a_card_in_shares_and_quotas() -> None:
    (grant,) = cycle(snapshot(FLEET, [job("j", WISH)])).grants
    assert (grant.place.cards(), grant.place.card_milli()) == (2, 856)
    assert held(FLEET, grant.place) == needs(FLEET, WISH, grant.place.kind, 1) == {"class:foreign": 856, "model:H800": 856}
    usage = Usage.none(FLEET)
    usage.add("t", grant.place)
    assert usage.dominant_share("t", {}) == 856 / (4 * 428 + 1000)


def test_a_quota_in_cards_binds_instances() -> None:
    moment = snapshot(FLEET, [job(f"j{number}", gang(1, 1, mig=SLICE.mig), queue="q") for number in range(4)])
    quotas = Quotas.of([Queue("q", nominal={"model:H800": 1000})])
    decisions = cycle(Snapshot(0, FLEET, moment.free, moment.usage, moment.queue, quotas=quotas))
    assert len(decisions.grants) == 2
    assert {verdict.reasons[0].code for verdict in decisions.verdicts.values()} == {"waiting_for_quota"}


def test_it_costs_its_part_of_the_cards_price() -> None:
    wish = job("j", WISH)
    moment = snapshot(FLEET, [wish], prices={("", "a", "H800"): quote(1_000_000)})
    (offer,) = offers(moment, moment.free, wish, WISH)
    assert (offer.unit_milli, offer.net_per_hour, offer.list_per_hour) == (856, 856_000, 856_000)


def test_stopping_it_loses_its_part_of_card_seconds() -> None:
    (grant,) = cycle(snapshot(FLEET, [job("j", WISH)])).grants
    assert run("r", grant.place, safe_at=0).lost_card_seconds(100 * SECOND) == 85
    assert run("r", place(Fleet.of([node("n")]), "n", 2), safe_at=0).lost_card_seconds(100 * SECOND) == 200


def test_what_if_knows_larger_instances_and_whole_cards() -> None:
    def helps(fleet: Fleet) -> list[str]:
        found = answer(snapshot(fleet, []), job("j", gang(1, 1, mig="2g.20gb")))
        return [each.reason.text("zh") for each in found.changes if each.reason.code == "change_other_profile"]

    assert helps(FLEET) == ["将 2g.20gb 改为 3g.40gb"]
    assert helps(Fleet.of([node("n", kind=HOPPER)])) == ["将 2g.20gb 改为 整卡"]
    assert helps(Fleet.of([node("n", cards=0)])) == []
