"""Probes that raise, hang and come back: the others go on, and nothing is started twice."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from agents.node.probes.probe import Device, Probe, Reading, Sensors
from agents.node.watch import Watch
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


def test_cards_of_a_failed_probe_stay_known_but_degraded_and_without_sensors() -> None:
    probe = Scripted(lambda: SEEN)
    watch = _watch(probe)
    watch.readings()
    probe.answer = _broken
    for _ in range(2):
        stale = watch.readings()["scripted"]
        (card,) = stale.devices
        assert (card.uuid, card.health, card.health_reasons) == ("NPU-0", Health.DEGRADED, ("probe_failed",))
        assert card.sensors == Sensors()
        assert (stale.driver_version, stale.error) == ("25.2.0", "RuntimeError: half a table")
    probe.answer = lambda: SEEN
    assert watch.readings()["scripted"] == SEEN


def test_cards_that_are_really_gone_are_gone() -> None:
    probe = Scripted(lambda: SEEN)
    watch = _watch(probe)
    watch.readings()
    probe.answer = Reading
    assert watch.readings()["scripted"] == Reading()
