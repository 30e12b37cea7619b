"""Runs the probes: side by side, each behind a deadline, none twice at once."""

from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from threading import Thread

from agents.node.probes.probe import Probe, Reading, Sensors
from scheduler.domain.hardware import Health

DEADLINE_SECONDS = 5.0


class Watch:
    """The probes of one node. A card is not gone because its probe failed: it is repeated as degraded, without sensors."""

    def __init__(self, probes: Sequence[Probe], deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._probes = probes
        self._deadline_seconds = deadline_seconds
        self._runs: dict[str, Future[Reading]] = {}
        self._last: dict[str, Reading] = {}

    def readings(self) -> dict[str, Reading]:
        """What each probe sees now, by its name, within one deadline for all of them. Raises nothing a probe raised."""
        hanging = {name for name, run in self._runs.items() if not run.done()}
        fresh = {probe.name: _start(probe) for probe in self._probes if probe.name not in hanging}
        self._runs |= fresh
        wait(fresh.values(), timeout=self._deadline_seconds)
        return {probe.name: self._reading(probe.name, fresh.get(probe.name)) for probe in self._probes}

    def _reading(self, name: str, run: Future[Reading] | None) -> Reading:
        if run is None:
            return self._stale(name, "still hangs in an earlier run, so it was not started again")
        if not run.done():
            return self._stale(name, f"no answer within {self._deadline_seconds:g} s")
        error = run.exception()
        if error is not None:
            return self._stale(name, f"{type(error).__name__}: {error}")
        self._last[name] = run.result()
        return self._last[name]

    def _stale(self, name: str, error: str) -> Reading:
        last = self._last.get(name, Reading())
        devices = (
            replace(
                device,
                sensors=Sensors(),
                health=Health.LOST if device.health is Health.LOST else Health.DEGRADED,
                health_reasons=(*device.health_reasons, "probe_failed"),
            )
            for device in last.devices
        )
        return replace(last, devices=tuple(devices), error=error)


def _start(probe: Probe) -> Future[Reading]:
    run: Future[Reading] = Future()

    def work() -> None:
        try:
            run.set_result(probe.probe())
        except Exception as error:
            run.set_exception(error)

    # A daemon, because a call that hangs inside a driver must not keep the agent from stopping.
    Thread(target=work, name=f"probe-{probe.name}", daemon=True).start()
    return run
