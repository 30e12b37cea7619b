"""What the dispatcher counts for Prometheus: rounds, what they decide, and where a limit cut their search short.

No label names a tenant, a job or a cluster, so there are as many series in a large city as in a small one.
"""

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scheduler.engine.backlog import NOBODY
from scheduler.engine.cycle import Served
from scheduler.engine.state import State

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds of the histogram of round times."""


class RoundMetrics:
    """The counters of one dispatcher, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._leading = Gauge("suanwang_leading", "1 while this process leads, else 0.", registry=registry)
        self._seconds = Histogram(
            "suanwang_round_seconds", "What deciding a round takes, store and network aside.", buckets=SECONDS, registry=registry
        )
        self._lines = Gauge("suanwang_queue_lines", "Lines of alike jobs in which somebody waits.", registry=registry)
        self._runs = Gauge("suanwang_runs", "Attempts that hold cards or cores.", registry=registry)
        self._promises = Gauge("suanwang_promises", "Blocked jobs that were promised a start in the last round.", registry=registry)
        self._decided = Counter("suanwang_decisions", "Jobs decided about, one for all alike.", registry=registry)
        self._grants = Counter("suanwang_grants", "Jobs that were given a place.", registry=registry)
        self._preemptions = Counter(
            "suanwang_preemptions", "Attempts asked to stop: for a job, maintenance or a reservation.", ["cause"], registry=registry
        )
        self._given_up = Counter(
            "suanwang_searches_given_up",
            "Jobs for which a limit ended the search for whom to stop, for a promise, or for moves, before everything was tried.",
            ["search"],
            registry=registry,
        )
        for cause in ("job", "maintenance", "reservation"):
            self._preemptions.labels(cause)
        for search in ("preemption", "promise", "move"):
            self._given_up.labels(search)

    def leads(self, leading: bool) -> None:
        """Whether this process leads."""
        self._leading.set(leading)

    def round(self, served: Served, state: State, seconds: float) -> None:
        """Count a round."""
        self._seconds.observe(seconds)
        self._lines.set(int((state.backlog.head_at != NOBODY).sum()))
        self._runs.set(len(state.runs))
        self._promises.set(len(served.promises))
        self._decided.inc(len(served.decided))
        self._grants.inc(len(served.grants))
        causes = Tally("job" if each.window is None else each.window.kind.value for each in served.preemptions)
        for cause, count in causes.items():
            self._preemptions.labels(cause).inc(count)
        self._given_up.labels("preemption").inc(served.cut_short.preemptions)
        self._given_up.labels("promise").inc(served.cut_short.promises)
        self._given_up.labels("move").inc(served.cut_short.moves)
