"""Why a job got nothing: the code, the numbers behind it, and the words."""

import pytest

from scheduler.domain.topology import RACK
from scheduler.engine.cycle import cycle
from scheduler.engine.explain import could_ever_fit
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Prices, Verdict
from tests.engine.builders import HOPPER, gang, job, node, place, quote, run, snapshot

FLEET = Fleet.of(
    [
        *(node(f"a{number}", rack="r1") for number in range(3)),
        *(node(f"b{number}", cluster="b", rack=f"r{number}") for number in range(4)),
        node("silent", cluster="c", kind=HOPPER, live=False),
    ]
)


def _verdict(wanted: QueuedJob, prices: Prices | None = None, busy: tuple[str, ...] = ()) -> Verdict:
    runs = [run(name, place(FLEET, name), preemptible=False) for name in busy]
    return cycle(snapshot(FLEET, [wanted], runs, prices)).verdicts[wanted.id]


def test_no_such_hardware() -> None:
    verdict = _verdict(job("j", gang(2, models=frozenset({"A100"}))))
    assert (verdict.kind, verdict.reasons[0].code) == ("never", "never_no_such_hardware")
    assert verdict.reasons[0].text("en") == "no node it may use has 8 × A100"
    assert verdict.reasons[0].text("zh") == "可用节点中没有任何节点具备 8 × A100"


def test_larger_than_any_cluster_names_the_largest() -> None:
    verdict = _verdict(job("j", gang(5)))
    assert verdict.kind == "never"
    assert verdict.reasons[0].text("en") == "needs 5 nodes × 8 × any-model; the largest cluster, b, has 4 such nodes in all"


def test_larger_than_any_rack_though_not_than_the_cluster() -> None:
    verdict = _verdict(job("j", gang(4, within=RACK)))
    assert (verdict.kind, verdict.reasons[0].code) == ("never", "never_larger_than_domain")
    assert (verdict.reasons[0].numbers["cluster"], verdict.reasons[0].numbers["total"]) == ("a", 3)


def test_waiting_for_cards_says_how_many_are_free_where() -> None:
    verdict = _verdict(job("j", gang(3)), busy=("a0", "a1"), prices={("", "a", "910B3"): quote(1)})
    assert verdict.kind == "wait"
    assert verdict.reasons[0].text("en") == ("needs 3 nodes × 8 × any-model; the best cluster, a, has 1 such nodes free now of 3")


def test_waiting_for_a_rack() -> None:
    reason = _verdict(job("j", gang(3, within=RACK)), busy=("a0",)).reasons[0]
    assert (reason.code, reason.numbers["free"], reason.numbers["total"]) == ("waiting_for_domain", 2, 3)


def test_waiting_for_a_cluster_that_does_not_answer() -> None:
    verdict = _verdict(job("j", gang(models=frozenset({"H800"}))))
    assert (verdict.kind, verdict.reasons[0].code) == ("wait", "waiting_for_cluster")
    assert verdict.reasons[0].numbers == {"clusters": "c"}


def test_waiting_for_a_price() -> None:
    verdict = _verdict(job("j", gang(), terms="t"), prices={})
    assert (verdict.kind, verdict.reasons[0].code) == ("wait", "waiting_for_price")


def test_one_reason_for_every_alternative_that_could_still_run() -> None:
    impossible, possible = gang(9), gang(models=frozenset({"H800"}))
    assert [reason.code for reason in _verdict(job("j", impossible, possible)).reasons] == ["waiting_for_cluster"]
    both = _verdict(job("j", impossible, gang(models=frozenset({"A100"}))))
    assert both.kind == "never"
    assert [reason.code for reason in both.reasons] == ["never_larger_than_cluster", "never_no_such_hardware"]


def test_jobs_that_ask_the_same_get_the_same_answer() -> None:
    queue = [job("one", gang(9)), job("two", gang(9), tenant="other")]
    verdicts = cycle(snapshot(FLEET, queue)).verdicts
    assert verdicts["one"] is verdicts["two"]


@pytest.mark.parametrize(("shape", "fits"), [(gang(4), True), (gang(5), False), (gang(models=frozenset({"H800"})), True)])
def test_could_ever_fit_looks_at_the_network_as_registered(shape: Shape, fits: bool) -> None:
    busy = [run(name, place(FLEET, name)) for name in ("a0", "a1")]
    found = could_ever_fit(snapshot(FLEET, [], busy), job("j", shape))
    assert (found is None) == fits
