"""`suanwang replay --workload`: a workload on the clock and with the store that were asked for, and how it went."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from scheduler.replay.admissions import Forgotten, Recorded
from scheduler.replay.clock import Clock, RealClock, VirtualClock
from scheduler.replay.trace import TraceError
from scheduler.replay.workload import Workload
from scheduler.replay.workload_driver import run
from scheduler.replay.workload_report import Circumstances, WorkloadReport, workload_report
from scheduler.store.database import Database

CLOCKS: dict[str, Callable[[], Clock]] = {
    "virtual": VirtualClock,
    "real": lambda: RealClock(time.monotonic_ns, Event().wait),
}

MEMORY, SQLITE = "memory", "sqlite"


@contextmanager
def progress_of(what: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """Something to tell how much is done, shown on stderr; None where that is no terminal."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield None if progress.disable else lambda done: progress.update(task, completed=done)


def peak_rss_bytes() -> int:
    """The most memory this process has had resident. Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_workload(workload: Workload, clock: str, store: str) -> WorkloadReport:
    """The report of a workload, timed on this machine. Raises TraceError where clock or store are not to be had."""
    if clock not in CLOCKS:
        raise TraceError(f"--clock {clock} is not allowed: {' or '.join(CLOCKS)} is")
    with _admissions(store) as admissions, progress_of("workload", workload.jobs) as progress:
        start = time.perf_counter()
        outcome = run(workload, CLOCKS[clock], admissions, progress)
        wall_seconds = time.perf_counter() - start
        kept = admissions.kept() if isinstance(admissions, Recorded) else None
    return workload_report(workload, outcome, Circumstances(wall_seconds, peak_rss_bytes(), clock, _shown(store), kept))


@contextmanager
def _admissions(store: str) -> Iterator[Forgotten | Recorded]:
    """`memory` keeps nothing, `sqlite` a database that is deleted afterwards; a URL is a database that stays."""
    if store == MEMORY:
        yield Forgotten()
    elif store == SQLITE:
        folder = tempfile.TemporaryDirectory(prefix="suanwang-replay-")
        with folder as name, _recorded(f"sqlite:///{Path(name) / 'admissions.db'}") as recorded:
            yield recorded
    else:
        with _recorded(store) as recorded:
            yield recorded


@contextmanager
def _recorded(url: str) -> Iterator[Recorded]:
    try:
        database = Database(url)
        recorded = Recorded(database)
    except (SQLAlchemyError, ImportError) as error:
        allowed = f"{MEMORY}, {SQLITE} or the URL of a database that answers is allowed"
        raise TraceError(f"--store {_shown(url)}: {error.__class__.__name__}; {allowed}") from error
    try:
        yield recorded
    finally:
        database.close()


def _shown(store: str) -> str:
    """Without the password a URL may hold."""
    try:
        return store if store in (MEMORY, SQLITE) else make_url(store).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "URL"
