"""The order in which the queue is served."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.fleet import Fleet
from scheduler.engine.history import History
from scheduler.engine.order import QueuedJob, Usage, in_order, resource_amounts, resource_name, urgency
from tests.engine.builders import HOPPER, SECOND, job, node, place
from tests.engine.strategies import queues

FLEET = Fleet.of([node("n1"), node("n2"), node("n3", kind=HOPPER), node("n4", cards=0, cpus=640)])


def _order(queue: list[QueuedJob], usage: Usage | None = None, weights: dict[str, int] | None = None) -> list[str]:
    return [each.id for each in in_order(queue, usage or Usage.none(FLEET), weights or {}, 0)]


def test_priority_goes_before_everything() -> None:
    usage = Usage.none(FLEET)
    usage.add("greedy", place(FLEET, "n1"))
    queue = [job("old", tenant="modest"), job("urgent", tenant="greedy", priority=75, submitted_at=9)]
    assert _order(queue, usage) == ["urgent", "old"]


def test_the_tenant_who_holds_less_is_served_first() -> None:
    usage = Usage.none(FLEET)
    usage.add("greedy", place(FLEET, "n1"))
    queue = [job("first", tenant="greedy", submitted_at=0), job("second", tenant="modest", submitted_at=9)]
    assert _order(queue, usage) == ["second", "first"]


def test_a_weight_of_two_counts_what_is_held_half() -> None:
    usage = Usage.none(FLEET)
    usage.add("heavy", place(FLEET, "n1", cards=6))
    usage.add("light", place(FLEET, "n2", cards=4))
    queue = [job("h", tenant="heavy"), job("l", tenant="light")]
    assert _order(queue, usage) == ["l", "h"]
    assert _order(queue, usage, {"heavy": 2}) == ["h", "l"]


def test_age_decides_between_equals_and_then_the_id() -> None:
    queue = [job("c", submitted_at=2), job("b", submitted_at=1), job("a", submitted_at=2)]
    assert _order(queue) == ["b", "a", "c"]


def test_a_grant_lowers_its_tenant_at_once() -> None:
    usage = Usage.none(FLEET)
    served = []
    for each in in_order([job("a1", tenant="a"), job("a2", tenant="a"), job("b1", tenant="b", submitted_at=9)], usage, {}, 0):
        served.append(each.id)
        usage.add(each.tenant, place(FLEET, "n1", cards=1))
    assert served == ["a1", "b1", "a2"]


def test_the_dominant_share_is_the_largest_of_any_resource() -> None:
    usage = Usage.none(FLEET)
    usage.add("t", place(FLEET, "n1", cards=4))
    assert usage.dominant_share("t", {}) == 4 / 16, "half of one node of two with domestic cards"
    usage.add("t", place(FLEET, "n3", cards=4))
    assert usage.dominant_share("t", {}) == 4 / 8, "half of the only foreign node"
    assert usage.dominant_share("stranger", {}) == 0.0


def test_a_share_given_back_is_gone_and_a_copy_is_apart() -> None:
    usage = Usage.none(FLEET)
    usage.add("t", place(FLEET, "n1"))
    other = usage.copy()
    usage.add("t", place(FLEET, "n1"), sign=-1)
    assert usage.dominant_share("t", {}) == 0.0
    assert other.dominant_share("t", {}) == 0.5


def test_the_past_counts_beside_the_present_and_is_divided_by_the_weight_too() -> None:
    half_life = 1000 * SECOND
    history = History(half_life, 0)
    history.begin("t", resource_amounts(HardwareClass.DOMESTIC, 8000, 0), 0)
    usage = replace(Usage.none(FLEET), past=history.past(half_life))
    assert usage.dominant_share("t", {}) == 4 / 16, "half of eight cards, of sixteen domestic ones"
    usage.add("t", place(FLEET, "n1", cards=4))
    assert usage.dominant_share("t", {}) == 8 / 16
    assert usage.copy().dominant_share("t", {"t": 2}) == 4 / 16
    assert usage.without_past().dominant_share("t", {}) == 4 / 16
    assert resource_name(usage.dominant_resource("t")) == "domestic"
    assert usage.dominant_share("stranger", {}) == 0.0


def test_who_used_much_before_stands_back_until_it_has_faded() -> None:
    half_life = 1000 * SECOND
    history = History(half_life, 0)
    history.begin("greedy", resource_amounts(HardwareClass.DOMESTIC, 16_000, 0), 0)
    history.end("greedy", resource_amounts(HardwareClass.DOMESTIC, 16_000, 0), half_life)
    queue = [job("old", tenant="greedy"), job("new", tenant="modest", submitted_at=9)]

    def order(now: int) -> list[str]:
        usage = replace(Usage.none(FLEET), past=history.past(now))
        usage.add("modest", place(FLEET, "n1", cards=1))
        return _order(queue, usage)

    assert order(half_life) == ["new", "old"], "half of all cards on average, against one card now"
    assert order(5 * half_life) == ["old", "new"]
    assert _order(queue) == ["old", "new"]


@settings(max_examples=60, deadline=None)
@given(queues(), st.integers(0, 3))
def test_everybody_is_served_once_and_no_tenant_overtakes_itself(queue: list[QueuedJob], rotation: int) -> None:
    served = list(in_order(queue, Usage.none(FLEET), {}, 0))
    assert sorted(each.id for each in served) == sorted(each.id for each in queue)
    assert served == list(in_order(queue[rotation:] + queue[:rotation], Usage.none(FLEET), {}, 0))
    assert [each.priority for each in served] == sorted((each.priority for each in queue), reverse=True)
    for tenant in {each.tenant for each in queue}:
        own = [each for each in served if each.tenant == tenant]
        assert own == sorted(own, key=lambda each: (-each.priority, urgency(each, 0), each.submitted_at, each.id))
