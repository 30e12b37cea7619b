"""Microsoft's ITP traces with deadlines and scaling curves (ElasticFlow; Gu et al., ASPLOS 2023): a CSV file for each cluster, and
a folder with a CSV file for each model.

A cluster file has a job a row: `job_id`, `submission_time` and `deadline` (seconds on one clock), `num_iteration`, `model_name`,
`batch_size` and `num_gpu`. A model's file, `MODEL.csv`, has a row for each `global_batch_size` and a column for each number of
cards: iterations a second there, 0 or nothing where it was not measured. Work is counted in 10⁻¹⁰ iterations: a rate of four
decimals is then a whole number.

A file is read whole or not at all: the first broken row raises `TraceError`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from scheduler.engine.plan import MAX_WORK, Curve, Gang
from scheduler.replay.rows import Row, read_rows
from scheduler.replay.trace import SECOND, TraceError

PER_NODE = 8
"""Cards of a node, as on the machines the curves were measured on."""

UNITS_PER_ITERATION = 10**10
_RATE_UNITS = UNITS_PER_ITERATION // SECOND

MAX_SECONDS = 10**9
MAX_ITERATIONS = MAX_WORK // UNITS_PER_ITERATION
MAX_BATCH = 10**6
MAX_WIDTH = 2**16

_JOB_COLUMNS = ("job_id", "submission_time", "num_iteration", "model_name", "deadline", "batch_size", "num_gpu")
_RATE = re.compile(r"\d{1,6}(?:\.\d{1,20})?", re.ASCII)

Curves = Mapping[tuple[str, int], Sequence[tuple[int, int]]]
"""By model and batch size: (cards, units of work a microsecond) where it was measured."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster of a trace: its jobs, and how many nodes it has."""

    jobs: tuple[Gang, ...]
    nodes: int


def read_cluster(path: Path, nodes: int, curves: Curves, rigid: bool = False) -> Cluster:
    """The jobs of a file. With `rigid` each has only the width it ran with. Raises TraceError."""
    jobs = tuple(_job(row, curves, rigid) for row in read_rows(path, _JOB_COLUMNS, unique="job_id"))
    return Cluster(jobs, nodes)


def read_curves(folder: Path) -> Curves:
    """The curves of every model that has a file. Raises TraceError."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise TraceError(f"{folder}: has no file MODEL.csv; throughputs by model, batch size and cards are needed")
    return {key: points for file in files for key, points in _model(file)}


def _model(path: Path) -> list[tuple[tuple[str, int], Sequence[tuple[int, int]]]]:
    found: list[tuple[tuple[str, int], Sequence[tuple[int, int]]]] = []
    for row in read_rows(path, ("global_batch_size",), unique="global_batch_size"):
        batch = row.integer("global_batch_size", most=MAX_BATCH, least=1)
        points = [(_width(row, column), _rate(row, column)) for column in row.cells if column != "global_batch_size"]
        found.append(((path.stem, batch), [(width, rate) for width, rate in points if rate]))
    return found


def _width(row: Row, column: str) -> int:
    if column.isascii() and column.isdigit() and len(column) <= len(str(MAX_WIDTH)):
        width = int(column)
        if width.bit_count() == 1 and width <= MAX_WIDTH:
            return width
    raise TraceError(
        f"{row.path}, row 1: column {column!r} is not allowed; numbers of cards that are powers of two up to {MAX_WIDTH} are"
    )


def _rate(row: Row, column: str) -> int:
    """Units of work a microsecond, rounded down; 0 where nothing was measured."""
    cell = row.cells[column]
    if cell in ("", "nan"):
        return 0
    if not _RATE.fullmatch(cell):
        raise row.broken(column, "iterations a second such as 12.5 are, or nothing")
    return int(Decimal(cell) * _RATE_UNITS)


def _job(row: Row, curves: Curves, rigid: bool) -> Gang:
    submitted = row.integer("submission_time", most=MAX_SECONDS)
    width = row.integer("num_gpu", least=1, most=MAX_WIDTH)
    key = row.text("model_name"), row.integer("batch_size", least=1, most=MAX_BATCH)
    points = [point for point in curves.get(key, ()) if not rigid or point[0] == width]
    if not points:
        measured = f"a batch size of {key[0]} with a measured throughput" + (f" on {width} cards" if rigid else "")
        raise row.broken("batch_size", f"{measured} is")
    return Gang(
        id=row.text("job_id"),
        work=row.integer("num_iteration", least=1, most=MAX_ITERATIONS) * UNITS_PER_ITERATION,
        curve=Curve.of(points),
        deadline=row.integer("deadline", most=MAX_SECONDS) * SECOND,
        submitted_at=submitted * SECOND,
    )
