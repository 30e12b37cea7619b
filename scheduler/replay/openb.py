"""Alibaba's "openb" trace (cluster-trace-gpu-v2023; Weng et al., ATC 2023): a node list and a pod list as CSV files.

Enter at `read_trace(nodes, pods)`. A file is read whole or not at all: the first broken row raises `TraceError`, which names
the file, the row as an editor numbers it, the column and what is allowed there. Columns a replay has no use for are ignored.

A pod whose deletion equals its creation (the published list has one) stays for no time: it takes part in the round of its
moment and leaves right after it. The trace names no vendor and hides some models, so every card is of class `unknown`.
"""

from dataclasses import dataclass
from pathlib import Path

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.fleet import Card, Kind, Node
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape
from scheduler.replay.rows import Row, read_rows
from scheduler.replay.trace import SECOND, Trace, TraceJob

CLUSTER = "openb"
MIB = 2**20

MAX_CPU_MILLI = 10**9
MAX_MEMORY_MIB = 10**9
MAX_CARDS = 64
MAX_SECONDS = 10**11

_NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
_TIME_COLUMNS = ("creation_time", "deletion_time")


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One line of a node list. `gpu` counts the cards, all of one `model`; a node without cards has no model."""

    sn: str
    cpu_milli: int
    memory_mib: int
    gpu: int
    model: str


@dataclass(frozen=True, slots=True)
class PodRow:
    """One line of a pod list. Times are seconds from the start of the trace; an empty `gpu_spec` allows every model.

    `gpu_milli` is asked of each of `num_gpu` cards; a part of a card (below 1000) is asked of one card only.
    """

    name: str
    cpu_milli: int
    memory_mib: int
    num_gpu: int
    gpu_milli: int
    gpu_spec: frozenset[str]
    creation_time: int
    deletion_time: int


def read_trace(nodes: Path, pods: Path) -> Trace:
    """The trace of two files. Raises TraceError."""
    return Trace(
        nodes=tuple(node_of(row) for row in read_nodes(nodes)),
        jobs=tuple(
            TraceJob(job_of(row, row.name, row.creation_time * SECOND), row.deletion_time * SECOND) for row in read_pods(pods)
        ),
    )


def read_nodes(path: Path) -> list[NodeRow]:
    """Every node of a list. Raises TraceError."""
    rows = []
    for line in read_rows(path, _NODE_COLUMNS, unique="sn"):
        gpu = line.integer("gpu", most=MAX_CARDS)
        rows.append(
            NodeRow(
                sn=line.text("sn"),
                cpu_milli=line.integer("cpu_milli", most=MAX_CPU_MILLI),
                memory_mib=line.integer("memory_mib", most=MAX_MEMORY_MIB),
                gpu=gpu,
                model=line.text("model") if gpu else "",
            )
        )
    return rows


def read_pods(path: Path, timed: bool = True) -> list[PodRow]:
    """Every pod of a list. Raises TraceError, also where times are wanted and the list was published without them.

    Without `timed` the times are not looked at, and are 0.
    """
    rows = []
    why = dict.fromkeys(_TIME_COLUMNS, "a replay on virtual time needs to know when pods come and go")
    for line in read_rows(path, (*_POD_COLUMNS, *_TIME_COLUMNS) if timed else _POD_COLUMNS, unique="name", why=why):
        num_gpu = line.integer("num_gpu", most=MAX_CARDS)
        creation_time, deletion_time = _times(line) if timed else (0, 0)
        rows.append(
            PodRow(
                name=line.text("name"),
                cpu_milli=line.integer("cpu_milli", most=MAX_CPU_MILLI),
                memory_mib=line.integer("memory_mib", most=MAX_MEMORY_MIB),
                num_gpu=num_gpu,
                gpu_milli=_gpu_milli(line, num_gpu),
                gpu_spec=_gpu_spec(line),
                creation_time=creation_time,
                deletion_time=deletion_time,
            )
        )
    return rows


def _times(line: Row) -> tuple[int, int]:
    created = line.integer("creation_time", most=MAX_SECONDS)
    return created, line.integer("deletion_time", least=created, most=MAX_SECONDS, least_is=" (its creation_time)")


def _gpu_milli(line: Row, num_gpu: int) -> int:
    if num_gpu == 0:
        return line.integer("gpu_milli", most=0)
    milli = line.integer("gpu_milli", least=1, most=WHOLE_CARD_MILLI)
    if milli < WHOLE_CARD_MILLI and num_gpu > 1:
        raise line.broken("gpu_milli", f"{WHOLE_CARD_MILLI} is, as num_gpu is {num_gpu}: only one card can be shared")
    return milli


def _gpu_spec(line: Row) -> frozenset[str]:
    cell = line.cells.get("gpu_spec", "")
    models = frozenset(cell.split("|")) if cell else frozenset()
    if "" in models:
        raise line.broken("gpu_spec", "models joined by '|', such as 'T4|P100', are")
    return models


def node_of(row: NodeRow) -> Node:
    """A node as the engine sees it."""
    kind = Kind(vendor="undisclosed", model=row.model, hardware_class=HardwareClass.UNKNOWN, memory_bytes=0)
    return Node(
        cluster=CLUSTER,
        name=row.sn,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_mib * MIB,
        cards=tuple(Card(f"{row.sn}/{slot}", kind) for slot in range(row.gpu)),
    )


def job_of(row: PodRow, id_: str, submitted_at: int) -> QueuedJob:
    """A pod as a job that arrives at `submitted_at`, microseconds from the start of the trace."""
    shape = Shape(
        nodes=1,
        min_nodes=1,
        per_node=row.num_gpu,
        card_milli=row.gpu_milli or WHOLE_CARD_MILLI,
        models=row.gpu_spec,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_mib * MIB,
    )
    return QueuedJob(id=id_, tenant=CLUSTER, priority=0, submitted_at=submitted_at, shapes=(shape,))
