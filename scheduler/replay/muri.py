"""Muri's traces (Zhao et al., "Multi-Resource Interleaving for Deep Learning Training", SIGCOMM 2022): jobs derived from Philly's,
one CSV file each, more of them than the cluster of their paper can serve.

Enter at `read_muri(path, nodes, cards)`. Times in the file are milliseconds. The model and resource columns are synthetic and the
priorities drawn at random; a replay has no use for them. The trace names no hardware.
"""

from pathlib import Path

from scheduler.engine.order import QueuedJob
from scheduler.replay.rows import read_rows
from scheduler.replay.service import Work, WorkTrace, alike_nodes, gang_of

CLUSTER = "muri"
NODES = 8
CARDS_PER_NODE = 8
"""The cluster of the paper."""

MAX_CARDS = 4096
MAX_MILLIS = 10**14
MILLI = 1000
"""Microseconds in a millisecond."""

_COLUMNS = ("job_id", "num_gpu", "submit_time", "duration")


def read_muri(path: Path, nodes: int = NODES, cards_per_node: int = CARDS_PER_NODE) -> WorkTrace:
    """The jobs of a file on so many alike nodes. Raises TraceError."""
    works = []
    for line in read_rows(path, _COLUMNS, unique="job_id"):
        job = QueuedJob(
            id=line.text("job_id"),
            tenant=CLUSTER,
            priority=0,
            submitted_at=line.integer("submit_time", most=MAX_MILLIS) * MILLI,
            shapes=(gang_of(line.integer("num_gpu", least=1, most=MAX_CARDS), cards_per_node),),
        )
        works.append(Work(job, line.integer("duration", least=1, most=MAX_MILLIS) * MILLI))
    return WorkTrace(alike_nodes(CLUSTER, nodes, cards_per_node), tuple(works))
