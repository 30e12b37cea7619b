"""Runs the probes: side by side, each behind a deadline, none twice at once."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from threading import Thread

from agents.node.probes.probe import Probe, Reading, Sensors
from scheduler.domain.hardware import Health

DEADLINE_SECONDS = 5.0
STALE_SECONDS = 30.0
"""How old a reading may be and still be what the node is: three reports. One late or broken answer takes no card from anybody."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reading, when it came and how long it took, in seconds on a clock that only moves forward."""

    reading: Reading
    at: float
    seconds: float


class Watch:
    """The probes of one node. A card is not gone because its probe failed: its last reading is told with its age, and once that is
    older than STALE_SECONDS the card is degraded, without sensors."""

    def __init__(
        self, probes: Sequence[Probe], deadline_seconds: float = DEADLINE_SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._probes = probes
        self._deadline_seconds = deadline_seconds
        self._monotonic = monotonic
        self._runs: dict[str, Future[_Answer]] = {}
        self._last: dict[str, _Answer] = {}

    def readings(self) -> dict[str, Reading]:
        """What each probe sees now, by its name, within one deadline for all of them. Raises nothing a probe raised."""
        self._keep_answers()  # those that came too late for the time before
        hanging = {name for name, run in self._runs.items() if not run.done()}
        fresh = {probe.name: _start(probe, self._monotonic) for probe in self._probes if probe.name not in hanging}
        self._runs |= fresh
        wait(fresh.values(), timeout=self._deadline_seconds)
        self._keep_answers()
        return {probe.name: self._reading(probe.name, fresh.get(probe.name)) for probe in self._probes}

    def _keep_answers(self) -> None:
        for name, run in self._runs.items():
            if run.done() and run.exception() is None:
                self._last[name] = run.result()

    def _reading(self, name: str, run: Future[_Answer] | None) -> Reading:
        if run is None:
            return self._kept(name, "still hangs in an earlier run, so it was not started again")
        if not run.done():
            return self._kept(name, f"no answer within {self._deadline_seconds:g} s")
        error = run.exception()
        if error is not None:
            return self._kept(name, f"{type(error).__name__}: {error}")
        answer = run.result()
        return replace(answer.reading, milliseconds=round(answer.seconds * 1000))

    def _kept(self, name: str, error: str) -> Reading:
        last = self._last.get(name)
        if last is None:
            return Reading(error=error)
        age = self._monotonic() - last.at
        reading = replace(last.reading, error=error, age_seconds=int(age))
        return reading if age <= STALE_SECONDS else _stale(reading)


def _stale(reading: Reading) -> Reading:
    devices = (
        replace(
            device,
            sensors=Sensors(),
            health=Health.LOST if device.health is Health.LOST else Health.DEGRADED,
            health_reasons=(*device.health_reasons, "probe_failed"),
        )
        for device in reading.devices
    )
    return replace(reading, devices=tuple(devices))


def _start(probe: Probe, monotonic: Callable[[], float]) -> Future[_Answer]:
    run: Future[_Answer] = Future()

    def work() -> None:
        began = monotonic()
        try:
            reading = probe.probe()
            ended = monotonic()
            run.set_result(_Answer(reading, ended, ended - began))
        except Exception as error:
            run.set_exception(error)

    # A daemon, because a call that hangs inside a driver must not keep the agent from stopping.
    Thread(target=work, name=f"probe-{probe.name}", daemon=True).start()
    return run
