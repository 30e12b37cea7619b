"""The agent's loop: one thread, one thing at a time, so that what was launched is observed before the city is told again.

A round is: observe, and where there is news on either side tell the city, compare, act; then hand over logs. It returns how long to
wait, and `run` waits, unless the city (`watch`) or the launcher wakes it. Whatever goes wrong, runs are left alone: only the
city's word stops one, and silence is not its word.
"""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from random import Random
from threading import Event
from typing import Protocol

from pydantic import ValidationError

from agents.cluster.archive import Archive
from agents.cluster.launcher import Launcher, LauncherGoneError, LauncherUnavailableError, LaunchRefusedError
from agents.cluster.logs import LogSink, LogUpload
from agents.cluster.reconcile import Actions, RunKey, plan
from agents.cluster.telling import Telling, TooManyRunsError
from agents.cluster.watch import Watch, WatchPort
from agents.terms import CityRefusedError, CityUnavailableError, backoff_seconds, retry_seconds
from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.sync import Cause, DesiredRun, ObservedRun, RunState, SyncRequest, SyncResponse

OBSERVE_SECONDS = 0.5
"""How often the launcher is asked what runs: it is near, and what has changed there is told at once."""

REFUSED_RETRY_SECONDS = 30.0
TAKEN_RETRY_SECONDS = 5.0
MOST_WAIT_SECONDS = 60.0
REPORTS_PER_ROUND = 64
REPORTS_SECONDS = 2.0
"""How many node reports are posted before a round, and for how long at most: a slow city must not hold up a sync."""

LOOK_SECONDS = 10.0
"""How often a site that has no nodes is looked at again."""

DETAIL_LENGTH = 500

log = logging.getLogger(__name__)


class CityPort(LogSink, WatchPort, Protocol):
    """The city as this loop speaks to it; `agents.city.City` is one. Every call raises CityUnavailableError or CityRefusedError."""

    def sync(self, cluster: str, request: SyncRequest) -> SyncResponse: ...

    def report(self, report: NodeReport) -> ReportAccepted: ...


class Site(Protocol):
    """A launcher that has nodes no node agent sits on, and reports them in its place. Nodes may come and go.

    Both raise LauncherUnavailableError when nothing is known of the nodes now: then nothing is said of any.
    """

    def hostnames(self) -> list[str]:
        """The nodes there are now."""

    def report(self, hostname: str) -> NodeReport:
        """The node as it is now, with the next sequence number; of one that is gone, that nothing is left of it."""


def run(
    city: CityPort,
    launcher: Launcher,
    *,
    cluster: str,
    name: str,
    stop: Event,
    wake: Event,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    rng: Random,
    beat: Callable[[bool], None],
    site: Site | None = None,
    archive: Archive | None = None,
) -> None:
    """Serves `cluster` until `stop` is set; runs go on after it. `name` tells which agent this is, the same after a restart.

    `beat` is told after each round whether city and launcher answered.
    `wake` is what the loop waits on: whoever sets `stop` sets it too, and a launcher that hears of changes may.
    Raises LauncherGoneError when the launcher's cluster has ended for good.
    """
    reports = Reports(city, site, rng, monotonic) if site else None
    with Watch(city, cluster, wake, rng) as watch:
        agent = Agent(city, launcher, watch, cluster=cluster, name=name, clock=clock, rng=rng, archive=archive)
        while not stop.is_set():
            wake.clear()
            now = monotonic()
            if reports is not None:
                reports.post_due(now)
            wake_at = now + agent.round(now)
            beat(agent.was_answered)
            if reports is not None:
                wake_at = min(wake_at, reports.next_due())
            if not stop.is_set():
                wake.wait(max(0.0, wake_at - monotonic()))


class Agent:
    """One cluster's side of the sync protocol."""

    def __init__(
        self,
        city: CityPort,
        launcher: Launcher,
        watch: Watch,
        *,
        cluster: str,
        name: str,
        clock: Callable[[], datetime],
        rng: Random,
        archive: Archive | None = None,
    ) -> None:
        self._archive = archive
        self._city = city
        self._launcher = launcher
        self._watch = watch
        self._cluster = cluster
        self._name = name
        self._clock = clock
        self._rng = rng
        self._refused: dict[RunKey, ObservedRun] = {}
        self._put_off: dict[RunKey, int] = {}
        """How often the cluster could not take a run that is still to be launched."""
        self._desired: list[DesiredRun] = []
        self._revision: str | None = None
        self._telling = Telling()
        self._logs = LogUpload(city, cluster, launcher)
        self._backoff: Iterator[float] = backoff_seconds(rng)
        self._due = 0.0
        """When to sync at the latest."""
        self._quiet_until = 0.0
        """Before this nothing is asked of a city, or a cluster, that did not answer."""
        self._trouble = ""

    @property
    def was_answered(self) -> bool:
        """Whether city and launcher answered in the last round that asked them."""
        return not self._trouble

    def round(self, now: float) -> float:
        """Look at the cluster, and where there is something to say or to hear, agree with the city. `now` is on a clock that only
        goes forward. Returns after how many seconds to come again."""
        if now < self._quiet_until:
            return self._quiet_until - now
        try:
            acted = self._exchange(now)
        except CityRefusedError as error:
            return self._come_again(now, self._refusal_seconds(error), f"{error}; {_what_to_do(error)}")
        except CityUnavailableError as error:
            return self._come_again(now, retry_seconds(error, self._backoff, self._rng), f"{error}; runs go on, trying again")
        except (LauncherUnavailableError, TooManyRunsError) as error:
            return self._come_again(now, next(self._backoff), f"{error}; runs go on, trying again")
        self._say("")
        self._backoff = backoff_seconds(self._rng)
        return 0.0 if acted else OBSERVE_SECONDS

    def _exchange(self, now: float) -> bool:
        """Observe, and sync where that is news, the city wants something else, or it is time. Returns whether anything was done in
        the cluster: what was launched is to be told at once."""
        observed = self._observe()
        actions = Actions()
        if self._telling.is_news(observed) or self._watch.is_stale or now >= self._due:
            self._sync(observed, now)
            actions = plan(self._desired, observed)
            self._act(actions)
        self._logs.push(observed)
        self._step_archive(observed, now)
        forgotten = [self._forget(key) for key in plan(self._desired, self._telling.known(observed)).forget]
        return bool(actions.launch or actions.stop or any(forgotten))

    def _sync(self, observed: list[ObservedRun], now: float) -> None:
        described, others = self._telling.message(observed)
        request = SyncRequest(agent=self._name, observed=described, others=others, revision=self._revision)
        response = self._city.sync(self._cluster, request)
        self._telling.told(observed, described)
        if response.desired is not None:
            self._desired, self._revision = response.desired, response.revision
            if self._archive is not None:
                there = {(run.attempt, run.fencing_token) for run in observed}
                with self._disk_trouble_told():
                    self._archive.keep_only(there | {(run.attempt, run.fencing_token) for run in response.desired})
        self._watch.hold(response.revision)
        self._due = now + min(self._rng.uniform(0.8, 1.0) * response.next_sync_milliseconds / 1000, MOST_WAIT_SECONDS)

    def _observe(self) -> list[ObservedRun]:
        """What the launcher has, and the launches it refused: they are told until the city no longer desires them."""
        runs = self._launcher.observe()
        for run in runs:
            self._refused.pop((run.attempt, run.fencing_token), None)
        return [*runs, *self._refused.values()]

    def _act(self, actions: Actions) -> None:
        for key in actions.stop:
            log.info("cluster %s: stopping %s (token %d)", self._cluster, *key)
            self._launcher.stop(*key)
        # Those the cluster could not take go behind the others: trouble with one run holds up no other.
        self._put_off = {
            key: self._put_off[key] for run in actions.launch if (key := (run.attempt, run.fencing_token)) in self._put_off
        }
        for run in sorted(actions.launch, key=lambda run: self._put_off.get((run.attempt, run.fencing_token), 0)):
            self._launch(run)

    def _forget(self, key: RunKey) -> bool:
        """Let go of a finished run once its logs are with the city; whether that was done."""
        if self._refused.pop(key, None) is None:
            if not self._logs.is_complete(key) or (self._archive is not None and not self._archive.is_done(key)):
                return False
            self._launcher.forget(*key)
        return True

    def _launch(self, run: DesiredRun) -> None:
        log.info("cluster %s: launching %s (%s, token %d)", self._cluster, run.attempt, run.name, run.fencing_token)
        try:
            if self._archive is not None:
                with self._disk_trouble_told():
                    self._archive.expect(run)
            self._launcher.launch(run)
        except LaunchRefusedError as error:
            self._refuse(run, str(error), error.cause)
        except LauncherGoneError:
            raise
        except LauncherUnavailableError:
            key = (run.attempt, run.fencing_token)
            self._put_off[key] = self._put_off.get(key, 0) + 1
            raise
        except Exception as error:
            # Whatever one run's launch trips over must not stop the others. Its text may hold an environment or a token, so
            # only its kind and place are told.
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            log.error("cluster %s: launching %s: %s at %s:%s", self._cluster, run.attempt, kind, place.filename, place.lineno)
            self._refuse(run, f"the cluster agent failed to launch it ({kind})")

    def _refuse(self, run: DesiredRun, detail: str, cause: Cause = Cause.LAUNCH_REFUSED) -> None:
        if self._archive is not None:
            with self._disk_trouble_told():
                self._archive.drop((run.attempt, run.fencing_token))
        self._refused[run.attempt, run.fencing_token] = ObservedRun(
            attempt=run.attempt,
            fencing_token=run.fencing_token,
            state=RunState.FAILED,
            finished_at=self._clock(),
            detail=detail[:DETAIL_LENGTH],
            cause=cause,
        )

    def _step_archive(self, observed: list[ObservedRun], now: float) -> None:
        if self._archive is not None:
            with self._disk_trouble_told():
                self._archive.step(observed, now)

    @contextmanager
    def _disk_trouble_told(self) -> Iterator[None]:
        """A full disk keeps logs from the archive; it must not stop the runs, nor keep one from being launched."""
        try:
            yield
        except OSError as error:
            log.error("cluster %s: the logs' archive: %s", self._cluster, error)

    def _refusal_seconds(self, error: CityRefusedError) -> float:
        seconds = TAKEN_RETRY_SECONDS if error.code == "cluster_taken" else REFUSED_RETRY_SECONDS
        return self._rng.uniform(0.5, 1.0) * seconds

    def _come_again(self, now: float, seconds: float, trouble: str) -> float:
        """After trouble: whatever was left undone is found again by the next sync, which is due as soon as it is over."""
        self._say(f"cluster {self._cluster}: {trouble}")
        self._quiet_until, self._due = now + seconds, now
        return seconds

    def _say(self, trouble: str) -> None:
        """Logs trouble when it begins, changes and ends, not each time it is met again."""
        if trouble and trouble != self._trouble:
            log.warning(trouble)
        if self._trouble and not trouble:
            log.info("cluster %s: the city and the cluster answer again", self._cluster)
        self._trouble = trouble


def _what_to_do(error: CityRefusedError) -> str:
    if error.status == HTTPStatus.UNAUTHORIZED:
        return "runs go on; write a valid token into the token file, which is read again at every try"
    if error.code == "cluster_taken":
        return "runs go on, and this agent takes over if it can"
    return "runs go on; check its id and its token"


class Reports:
    """Posts the reports of a site's nodes: all when the agent starts, then each when the city wants it, spread by jitter.

    A node that comes is reported at once, one that goes once more when its turn comes, so that its cards go with it.
    """

    def __init__(self, city: CityPort, site: Site, rng: Random, monotonic: Callable[[], float]) -> None:
        self._city = city
        self._site = site
        self._rng = rng
        self._monotonic = monotonic
        self._due: dict[str, float] = {}
        self._look_at = 0.0
        self._not_before = 0.0
        self._backoff: Iterator[float] = backoff_seconds(rng)
        self._trouble = ""

    def next_due(self) -> float:
        """When to come again, on the clock `post_due` is given."""
        return max(self._not_before, min(self._due.values(), default=self._look_at))

    def post_due(self, now: float) -> None:
        """Posts what is due at `now`, the longest overdue first, at most REPORTS_PER_ROUND and for REPORTS_SECONDS."""
        if now < self._not_before:
            return
        try:
            there = self._site.hostnames()
            gone = self._due.keys() - there
            self._due |= {hostname: now for hostname in there if hostname not in self._due}
            self._look_at = now + LOOK_SECONDS
            overdue = sorted((due, hostname) for hostname, due in self._due.items() if due <= now)
            trouble = ""
            for _, hostname in overdue[:REPORTS_PER_ROUND]:
                if self._monotonic() - now > REPORTS_SECONDS:
                    break
                try:
                    accepted = self._city.report(self._site.report(hostname))
                except (CityRefusedError, ValidationError) as error:  # it waits by itself: the others go on
                    trouble = f"node {hostname}: {_in_one_line(error)}"
                    self._due[hostname] = now + self._rng.uniform(0.5, 1.0) * REFUSED_RETRY_SECONDS
                    continue
                self._due[hostname] = now + self._rng.uniform(0.7, 1.0) * max(1, accepted.next_report_seconds)
                if hostname in gone:
                    del self._due[hostname]
        except CityUnavailableError as error:
            self._not_before = now + retry_seconds(error, self._backoff, self._rng)
        except LauncherUnavailableError as error:
            self._say(f"the nodes are not reported: {error}")
            self._not_before = now + next(self._backoff)
        else:
            self._say(trouble)
            self._backoff = backoff_seconds(self._rng)

    def _say(self, trouble: str) -> None:
        """Logs trouble when it begins, not each time it is met again."""
        if trouble and not self._trouble:
            log.warning(trouble)
        self._trouble = trouble


def _in_one_line(error: CityRefusedError | ValidationError) -> str:
    """What is wrong; of what does not fit into a report the first field and what is allowed there."""
    if isinstance(error, CityRefusedError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
