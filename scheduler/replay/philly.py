"""Microsoft's Philly trace (Jeon et al., "Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads", ATC 2019),
as a list of jobs and a list of virtual clusters, both CSV.

Enter at `read_philly(jobs, clusters)`: a trace for each virtual cluster, since none may use the cards of another. Submission is
local wall time, durations are seconds. Jobs of virtual clusters whose size the list does not give are counted and left out.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from scheduler.domain.clock import to_micros
from scheduler.engine.order import QueuedJob
from scheduler.replay.rows import Row, read_rows
from scheduler.replay.service import Work, WorkTrace, alike_nodes, gang_of
from scheduler.replay.trace import SECOND, TraceError

CARDS_PER_NODE = 8

MAX_CARDS = 4096
MAX_NODES = 100_000
MAX_SECONDS = 10**9

_JOB_COLUMNS = ("timestamp", "duration", "num_gpus", "cluster")
_CLUSTER_COLUMNS = ("vc", "node num")


@dataclass(frozen=True, slots=True)
class Philly:
    """`by_cluster`: the trace of every virtual cluster that has jobs; `left_out`: how many jobs of each other one there are."""

    by_cluster: dict[str, WorkTrace]
    left_out: dict[str, int]


def read_philly(jobs: Path, clusters: Path) -> Philly:
    """The jobs of a file, by virtual cluster. Raises TraceError."""
    nodes = {
        line.text("vc"): line.integer("node num", least=1, most=MAX_NODES)
        for line in read_rows(clusters, _CLUSTER_COLUMNS, unique="vc")
    }
    works: dict[str, list[Work]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for line in read_rows(jobs, _JOB_COLUMNS):
        cluster, work = line.text("cluster"), _work(line)
        if cluster in nodes:
            works[cluster].append(work)
        else:
            left_out[cluster] += 1
    if not works:
        raise TraceError(f"{jobs}: no job is of a virtual cluster of {clusters}; at least one is needed")
    traces = {name: WorkTrace(alike_nodes(name, nodes[name], CARDS_PER_NODE), tuple(works[name])) for name in sorted(works)}
    return Philly(traces, dict(sorted(left_out.items())))


def _work(line: Row) -> Work:
    """A row has no name of its own: it is called after its place in the file."""
    cards = line.integer("num_gpus", least=1, most=MAX_CARDS)
    job = QueuedJob(f"{line.number:07d}", line.text("cluster"), 0, _submitted_at(line), (gang_of(cards, CARDS_PER_NODE),))
    return Work(job, _duration(line))


def _submitted_at(line: Row) -> int:
    try:
        return to_micros(datetime.strptime(line.cells["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))
    except ValueError:
        raise line.broken("timestamp", "a time such as 2017-10-09 07:01:55 is") from None


def _duration(line: Row) -> int:
    """Microseconds; a job of no time is taken to last one second."""
    try:
        seconds = Decimal(line.cells["duration"])
    except InvalidOperation:
        seconds = Decimal("NaN")
    if not (seconds.is_finite() and 0 <= seconds <= MAX_SECONDS):
        raise line.broken("duration", f"seconds from 0 to {MAX_SECONDS} are")
    return max(SECOND, int(seconds * SECOND))
