"""An openb trace in a given order of arrival, nothing ever leaving: how full does the network get before pods are turned away?

This is the protocol of "Beware of Fragmentation" (Weng et al., USENIX ATC 2023), whose figures are the ones to compare with. The
arrivals are a text file, plain or gzip, with two lines for every seed: `pods SEED i0 i1 …` has the pods as positions in the pod
list sorted by name, and `nodeprio SEED …` the order in which the authors' program broke ties, which is of no use here.

Enter at `read_trace(nodes, pods, arrivals, seed)`: a trace for `driver.replay`, a pod a second, all of which leave a second after
the last has come. `allocated_percent(trace, outcome)` is the headline.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO

from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape
from scheduler.replay.driver import Outcome
from scheduler.replay.openb import job_of, node_of, read_nodes, read_pods
from scheduler.replay.trace import SECOND, Trace, TraceError, TraceJob

HEADLINE_PERCENTS = (100, 130)
"""The loads at which the network is looked at: what has arrived, in percent of all cards."""

MAX_LINE_CHARACTERS = 2**24
MAX_SEED_DIGITS = 9


def read_trace(nodes: Path, pods: Path, arrivals: Path, seed: int | None) -> Trace:
    """The trace of one seed. Raises TraceError, which names the seeds there are where none or another one is asked for."""
    rows = sorted(read_pods(pods, timed=False), key=lambda row: row.name)
    order = _read_order(arrivals, seed, len(rows))
    return Trace(
        nodes=tuple(node_of(row) for row in read_nodes(nodes)),
        jobs=tuple(
            TraceJob(job_of(rows[index], f"{second:07d}-{rows[index].name}", second * SECOND), len(order) * SECOND)
            for second, index in enumerate(order)
        ),
    )


def allocated_percent(trace: Trace, outcome: Outcome) -> dict[str, float | None]:
    """By load: the share of all cards that is allocated, in percent, averaged over the arrivals at which the load rounds to that
    percentage. None where it never does. The outcome is that of a trace in which jobs come one at a time."""
    capacity = outcome.cards * WHOLE_CARD_MILLI
    jobs = sorted((entry.job for entry in trace.jobs), key=lambda job: job.submitted_at)
    loads = accumulate(_card_milli(job.shapes[0]) for job in jobs)
    found: dict[int, list[int]] = {percent: [] for percent in HEADLINE_PERCENTS}
    for load, level in zip(loads, outcome.levels, strict=False):
        found.get((200 * load + capacity) // (2 * capacity) if capacity else 0, []).append(level)
    return {str(percent): 100 * sum(levels) / len(levels) / capacity if levels else None for percent, levels in found.items()}


def _card_milli(shape: Shape) -> int:
    return shape.nodes * shape.per_node * shape.card_milli


def _read_order(path: Path, seed: int | None, pods: int) -> Sequence[int]:
    orders: dict[int, tuple[int, list[str]]] = {}
    try:
        with gzip.open(path, "rt", encoding="ascii") if path.suffix == ".gz" else path.open(encoding="ascii") as file:
            for number, words in _lines(path, file):
                line_seed = _seed(path, number, words)
                if words[0] == "pods":
                    if line_seed in orders:
                        raise TraceError(
                            f"{path}, line {number}: line {orders[line_seed][0]} has the pods of seed {line_seed} already"
                        )
                    orders[line_seed] = (number, words[2:])
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not a text file of arrivals (byte {error.start} of what was being read)") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: a broken gzip file: {error}") from error
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    if seed is None or seed not in orders:
        wanted = "a seed is needed" if seed is None else f"there is no seed {seed}"
        raise TraceError(f"{path}: {wanted}; give --seed with one of {', '.join(map(str, sorted(orders))) or '(none in the file)'}")
    number, words = orders[seed]
    return [_index(path, number, word, pods) for word in words]


def _lines(path: Path, file: IO[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers, as words."""
    number = 0
    while line := file.readline(MAX_LINE_CHARACTERS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARACTERS:
            raise TraceError(f"{path}, line {number}: longer than {MAX_LINE_CHARACTERS} characters")
        if words := line.split():
            yield number, words


def _seed(path: Path, number: int, words: Sequence[str]) -> int:
    """The seed of a line that begins as it should and has something to say."""
    if words[0] in ("pods", "nodeprio") and len(words) > 2 and words[1].isdigit() and len(words[1]) <= MAX_SEED_DIGITS:
        return int(words[1])
    start = " ".join(words[:2])[:40]
    raise TraceError(f"{path}, line {number}: {start!r} is not allowed; 'pods SEED i0 i1 …' or 'nodeprio SEED p0 p1 …' is")


def _index(path: Path, number: int, word: str, pods: int) -> int:
    if not (word.isdigit() and len(word) <= len(str(pods)) and int(word) < pods):
        raise TraceError(f"{path}, line {number}: pod {word[:40]!r} is not allowed; a whole number from 0 to {pods - 1} is")
    return int(word)
