"""Probes that raise, hang and come back: the others go on, and nothing is started twice."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from agents.node.probes.probe import Device, Probe, Reading, Sensors
from agents.node.watch import STALE_SECONDS, Watch
from scheduler.domain.hardware import Health

CARD = Device(index=0, vendor="huawei", model="910B3", uuid="NPU-0", sensors=Sensors(power_milliwatts=90_000))
SEEN = Reading((CARD,), driver_version="25.2.0")


@dataclass
class Scripted:
    """A probe that answers what `answer` answers, and counts how often it was asked."""

    answer: Callable[[], Reading]
    name: str = "scripted"
    calls: int = field(default=0)

    def probe(self) -> Reading:
        self.calls += 1
        return self.answer()


@dataclass
class Clock:
    """A monotonic clock that moves when it is told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def _broken() -> Reading:
    raise RuntimeError("half a table")


def _watch(*probes: Probe, deadline_seconds: float = 60.0) -> Watch:
    return Watch(probes, deadline_seconds)


def test_a_probe_that_raises_is_reported_and_the_others_go_on() -> None:
    readings = _watch(Scripted(_broken, "broken"), Scripted(lambda: SEEN, "sound")).readings()
    assert readings == {"broken": Reading(error="RuntimeError: half a table"), "sound": SEEN}


def test_a_probe_that_hangs_is_cut_off_and_not_started_again_until_it_returns() -> None:
    released, returned = Event(), Event()

    def hang() -> Reading:
        released.wait()
        returned.set()
        return Reading()

    hanging = Scripted(hang, "hanging")
    watch = _watch(hanging, Scripted(lambda: SEEN, "sound"), deadline_seconds=0.5)

    first = watch.readings()
    assert first["hanging"].error == "no answer within 0.5 s"
    assert first["sound"] == SEEN

    second = watch.readings()
    assert second["hanging"].error == "still hangs in an earlier run, so it was not started again"
    assert second["sound"] == SEEN
    assert hanging.calls == 1

    released.set()
    assert returned.wait(5)
    for _ in range(100):
        if watch.readings()["hanging"].error is None:
            break
    assert hanging.calls >= 2


def test_one_broken_answer_takes_no_card_out_and_a_long_silence_does() -> None:
    probe, clock = Scripted(lambda: SEEN), Clock()
    watch = Watch((probe,), 60.0, clock)
    watch.readings()
    probe.answer = _broken
    for age in (10, 20, STALE_SECONDS):
        clock.now = age
        kept = watch.readings()["scripted"]
        assert (kept.devices, kept.age_seconds, kept.error) == ((CARD,), int(age), "RuntimeError: half a table")
    clock.now = STALE_SECONDS + 1
    for _ in range(2):
        stale = watch.readings()["scripted"]
        (card,) = stale.devices
        assert (card.uuid, card.health, card.health_reasons) == ("NPU-0", Health.DEGRADED, ("probe_failed",))
        assert card.sensors == Sensors()
        assert (stale.driver_version, stale.error) == ("25.2.0", "RuntimeError: half a table")
    probe.answer = lambda: SEEN
    assert watch.readings()["scripted"] == SEEN


def test_an_answer_that_comes_after_its_deadline_is_taken_up_the_next_time() -> None:
    released, clock = Event(), Clock()

    def slow() -> Reading:
        released.wait()
        return SEEN

    watch = Watch((Scripted(slow),), 0.05, clock)
    assert watch.readings()["scripted"] == Reading(error="no answer within 0.05 s")
    released.set()
    watch._runs["scripted"].result(5)
    released.clear()
    clock.now = 3.0
    late = watch.readings()["scripted"]
    assert (late.devices, late.error, late.age_seconds) == ((CARD,), "no answer within 0.05 s", 3)
    released.set()


def test_how_long_a_probe_took_is_told_and_is_no_part_of_what_it_saw() -> None:
    clock = Clock()

    def takes_two_seconds() -> Reading:
        clock.now += 2
        return SEEN

    reading = Watch((Scripted(takes_two_seconds),), 60.0, clock).readings()["scripted"]
    assert (reading, reading.milliseconds, reading.age_seconds) == (SEEN, 2000, None)


def test_cards_that_are_really_gone_are_gone() -> None:
    probe = Scripted(lambda: SEEN)
    watch = _watch(probe)
    watch.readings()
    probe.answer = Reading
    assert watch.readings()["scripted"] == Reading()
