"""Runs in the way of a window: they end when it opens, and those that are still there are asked to stop.

A round places nothing that would be in the way. A run is in it when it is older than the window, or when it should long have ended.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from scheduler.engine.runs import Runs
from scheduler.engine.snapshot import ActiveRun
from scheduler.engine.window import Window


def is_in_the_way(run: ActiveRun, window: Window, now: int) -> bool:
    """Whether the window binds the run, on a node they share, from now until the run ends."""
    return (
        run.place.cluster == window.cluster
        and window.binds(run.tenant, now, max(run.ends_at, now + 1))
        and any(part.node in window.nodes for part in run.place.allocations)
    )


def ending_by(windows: Iterable[Window], run: ActiveRun, now: int) -> ActiveRun:
    """The run as it ends at the latest: when it will be stopped for a window, if that is sooner than it said."""
    starts = [each.start for each in windows if is_in_the_way(run, each, now)]
    return replace(run, ends_at=max(now, min(starts))) if starts else run


def overstaying(windows: Iterable[Window], runs: Runs, now: int) -> Iterator[tuple[ActiveRun, Window]]:
    """The runs, once each, that are in the way of a window that is open."""
    found: dict[str, tuple[ActiveRun, Window]] = {}
    for window in windows:
        if window.start <= now < window.end:
            for run in runs.in_cluster(window.cluster):
                if is_in_the_way(run, window, now):
                    found.setdefault(run.attempt, (run, window))
    yield from (found[attempt] for attempt in sorted(found))
