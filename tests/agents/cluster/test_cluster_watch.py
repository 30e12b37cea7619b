"""The watch beside the loop: it wakes the loop once for each change, and asks no more than it should."""

import random
import threading

import pytest

from agents.cluster.watch import PAUSE_SECONDS, Watch
from agents.terms import RETRY_AFTER_SPREAD, CityUnavailableError
from tests.agents.cluster.doubles import REFUSED, MemoryCity, desired


def watching(city: MemoryCity) -> tuple[Watch, threading.Event]:
    wake = threading.Event()
    return Watch(city, "c1", wake, random.Random(1)), wake


def test_a_change_wakes_the_loop_and_is_not_asked_for_again_until_it_has_synced() -> None:
    city = MemoryCity()
    watch, wake = watching(city)
    watch.hold("0-0")
    assert watch.step(iter([])) == PAUSE_SECONDS
    assert not wake.is_set()
    city.desired = [desired()]
    watch.step(iter([]))
    assert wake.is_set()
    assert watch.is_stale
    thread = threading.Thread(target=watch.step, args=(iter([]),))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive(), "there is nothing to watch from"
    watch.hold(city.revision)
    thread.join(5)
    assert not thread.is_alive()
    assert not watch.is_stale


def test_what_the_loop_has_learned_meanwhile_is_no_news() -> None:
    city = MemoryCity(desired=[desired()])
    watch, wake = watching(city)
    watch.hold("0-0")
    answer = city.watch

    def late(cluster: str, revision: str, wait_seconds: int):  # type: ignore[no-untyped-def]
        watch.hold("1-1")  # a sync that was quicker
        return answer(cluster, revision, wait_seconds)

    city.watch = late  # type: ignore[method-assign]
    watch.step(iter([]))
    assert not watch.is_stale
    assert not wake.is_set()


def test_trouble_is_waited_out() -> None:
    city = MemoryCity(trouble=CityUnavailableError("503", retry_after_seconds=7))
    watch, _ = watching(city)
    watch.hold("0-0")
    assert 7 <= watch.step(iter([0.1])) <= 7 * RETRY_AFTER_SPREAD
    city.trouble = REFUSED
    assert watch.step(iter([])) >= 15


@pytest.mark.timeout(20)
def test_as_a_thread_it_ends_with_its_context() -> None:
    city, before = MemoryCity(), threading.active_count()
    watch, wake = watching(city)
    with watch:
        watch.hold("0-0")
        city.desired = [desired()]
        assert wake.wait(5)
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(5)
    assert threading.active_count() == before
