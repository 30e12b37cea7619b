"""The agent's loop: one thread, one thing at a time, so that what was launched is observed before the city is told again.

A round is: observe, tell the city, compare, act, hand over logs. It returns how long to wait, and `run` waits. Whatever goes
wrong, runs are left alone: only the city's word stops one, and silence is not its word.
"""

import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain
from random import Random
from threading import Event
from typing import Protocol

from agents.cluster.launcher import Launcher, LauncherGoneError, LauncherUnavailableError, LaunchRefusedError
from agents.cluster.logs import LogSink, LogUpload
from agents.cluster.reconcile import RunKey, plan
from agents.terms import CityRefusedError, CityUnavailableError, backoff_seconds, retry_seconds
from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.sync import MAX_RUNS, RUN_FINAL, Cause, DesiredRun, ObservedRun, RunState, SyncRequest, SyncResponse

REFUSED_RETRY_SECONDS = 30.0
MOST_WAIT_SECONDS = 60.0
REPORTS_PER_ROUND = 64
DETAIL_LENGTH = 500

log = logging.getLogger(__name__)


class CityPort(LogSink, Protocol):
    """The city as this loop speaks to it; `agents.city.City` is one. Every call raises CityUnavailableError or CityRefusedError."""

    def sync(self, cluster: str, request: SyncRequest) -> SyncResponse: ...

    def report(self, report: NodeReport) -> ReportAccepted: ...


class Site(Protocol):
    """A launcher that has nodes no node agent sits on, and reports them in its place."""

    def hostnames(self) -> list[str]: ...

    def report(self, hostname: str) -> NodeReport:
        """The node as it is now, with the next sequence number."""


def run(
    city: CityPort,
    launcher: Launcher,
    *,
    cluster: str,
    name: str,
    stop: Event,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    rng: Random,
    beat: Callable[[bool], None],
    site: Site | None = None,
) -> None:
    """Serves `cluster` until `stop` is set; runs go on after it. `name` tells people which process this is.

    `beat` is told after each exchange with the city whether city and launcher answered.
    Raises LauncherGoneError when the launcher's cluster has ended for good.
    """
    agent = Agent(city, launcher, cluster=cluster, name=name, clock=clock, rng=rng)
    reports = Reports(city, site, rng) if site else None
    sync_at = monotonic()
    while not stop.is_set():
        now = monotonic()
        if reports is not None:
            reports.post_due(now)
        if now >= sync_at:
            sync_at = now + agent.round()
            beat(agent.was_answered)
        wake_at = min(sync_at, reports.next_due()) if reports else sync_at
        stop.wait(max(0.0, wake_at - monotonic()))


class Agent:
    """One cluster's side of the sync protocol."""

    def __init__(
        self, city: CityPort, launcher: Launcher, *, cluster: str, name: str, clock: Callable[[], datetime], rng: Random
    ) -> None:
        self._city = city
        self._launcher = launcher
        self._cluster = cluster
        self._name = name
        self._clock = clock
        self._rng = rng
        self._refused: dict[RunKey, ObservedRun] = {}
        self._logs = LogUpload(city, cluster, launcher)
        self._backoff: Iterator[float] = backoff_seconds(rng)
        self._trouble = ""

    def round(self) -> float:
        """One exchange with the city and what follows from it. Returns after how many seconds to come again."""
        try:
            observed = self._observe()
            response = self._city.sync(self._cluster, SyncRequest(agent=self._name, observed=observed))
            self._act(response.desired, observed)
            self._logs.push(observed)
        except CityRefusedError as error:
            self._say(f"cluster {self._cluster}: {error}; check its id and its token")
            return self._rng.uniform(0.5, 1.0) * REFUSED_RETRY_SECONDS
        except CityUnavailableError as error:
            self._say(f"cluster {self._cluster}: {error}; runs go on, trying again")
            return retry_seconds(error, self._backoff, self._rng)
        except LauncherUnavailableError as error:
            self._say(f"cluster {self._cluster}: {error}; runs go on, trying again")
            return next(self._backoff)
        self._say("")
        self._backoff = backoff_seconds(self._rng)
        return min(self._rng.uniform(0.8, 1.0) * response.next_sync_milliseconds / 1000, MOST_WAIT_SECONDS)

    @property
    def was_answered(self) -> bool:
        """Whether the city and the launcher both answered in the last round."""
        return not self._trouble

    def _observe(self) -> list[ObservedRun]:
        """What the launcher has, and the launches it refused: they are told until the city no longer desires them.

        Living runs come first: beyond the limit of one message, endings can wait.
        """
        runs = self._launcher.observe()
        for run in runs:
            self._refused.pop((run.attempt, run.fencing_token), None)
        told = sorted(chain(runs, self._refused.values()), key=lambda run: run.state in RUN_FINAL)
        return told[:MAX_RUNS]

    def _act(self, desired: list[DesiredRun], observed: list[ObservedRun]) -> None:
        actions = plan(desired, observed)
        for key in actions.stop:
            log.info("cluster %s: stopping %s (token %d)", self._cluster, *key)
            self._launcher.stop(*key)
        for key in actions.forget:
            if self._refused.pop(key, None) is None and self._logs.is_complete(key):
                self._launcher.forget(*key)
        for run in actions.launch:
            self._launch(run)

    def _launch(self, run: DesiredRun) -> None:
        log.info("cluster %s: launching %s (%s, token %d)", self._cluster, run.attempt, run.name, run.fencing_token)
        try:
            self._launcher.launch(run)
        except LaunchRefusedError as error:
            self._refuse(run, str(error))
        except (LauncherUnavailableError, LauncherGoneError):
            raise
        except Exception as error:
            # Whatever one run's launch trips over must not stop the others. Its text may hold an environment or a token, so
            # only its kind and place are told.
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            log.error("cluster %s: launching %s: %s at %s:%s", self._cluster, run.attempt, kind, place.filename, place.lineno)
            self._refuse(run, f"the cluster agent failed to launch it ({kind})")

    def _refuse(self, run: DesiredRun, detail: str) -> None:
        self._refused[run.attempt, run.fencing_token] = ObservedRun(
            attempt=run.attempt,
            fencing_token=run.fencing_token,
            state=RunState.FAILED,
            finished_at=self._clock(),
            detail=detail[:DETAIL_LENGTH],
            cause=Cause.LAUNCH_REFUSED,
        )

    def _say(self, trouble: str) -> None:
        """Logs trouble when it begins, changes and ends, not each time it is met again."""
        if trouble and trouble != self._trouble:
            log.warning(trouble)
        if self._trouble and not trouble:
            log.info("cluster %s: the city and the cluster answer again", self._cluster)
        self._trouble = trouble


class Reports:
    """Posts the reports of a site's nodes: all when the agent starts, then each when the city wants it, spread by jitter."""

    def __init__(self, city: CityPort, site: Site, rng: Random) -> None:
        self._city = city
        self._site = site
        self._rng = rng
        self._due = dict.fromkeys(site.hostnames(), 0.0)
        self._backoff: Iterator[float] = backoff_seconds(rng)
        self._refused = False

    def next_due(self) -> float:
        """When to come again, on the clock `post_due` is given."""
        return min(self._due.values())

    def post_due(self, now: float) -> None:
        """Posts what is due, the longest overdue first, at most REPORTS_PER_ROUND."""
        overdue = sorted((due, hostname) for hostname, due in self._due.items() if due <= now)
        for _, hostname in overdue[:REPORTS_PER_ROUND]:
            try:
                accepted = self._city.report(self._site.report(hostname))
            except CityUnavailableError as error:
                self._postpone(now + retry_seconds(error, self._backoff, self._rng))
                return
            except CityRefusedError as error:
                if not self._refused:
                    log.warning("node %s: %s", hostname, error)
                self._refused = True
                self._postpone(now + self._rng.uniform(0.5, 1.0) * REFUSED_RETRY_SECONDS)
                return
            self._refused = False
            self._backoff = backoff_seconds(self._rng)
            self._due[hostname] = now + self._rng.uniform(0.7, 1.0) * max(1, accepted.next_report_seconds)

    def _postpone(self, until: float) -> None:
        self._due = {hostname: max(due, until) for hostname, due in self._due.items()}
