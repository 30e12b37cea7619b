"""`suanwang replay --muri` and `--philly`: jobs that can be interrupted, by the policy that was asked for, and how it went."""

import time
from collections.abc import Mapping
from pathlib import Path

from api.cli.workload import peak_rss_bytes, progress_of
from scheduler.replay import muri
from scheduler.replay.philly import read_philly
from scheduler.replay.policy import Policy
from scheduler.replay.service import WorkTrace, serve
from scheduler.replay.service_report import ServiceReport, service_report
from scheduler.replay.trace import TraceError

Traces = Mapping[str, WorkTrace]
"""By virtual cluster."""


def measure_service(traces: Traces, policy: Policy, left_out: Mapping[str, int]) -> ServiceReport:
    """The report of one trace for every virtual cluster, timed on this machine."""
    outcomes = {}
    start = time.perf_counter()
    for name, trace in traces.items():
        with progress_of(name, len(trace.works)) as progress:
            outcomes[name] = serve(trace, policy, progress)
    return service_report(policy, outcomes, left_out, time.perf_counter() - start, peak_rss_bytes())


def read_services(
    muri_file: Path | None, philly: Path | None, clusters: Path | None, size: str | None
) -> tuple[Traces, Mapping[str, int]]:
    """The traces of one of the two formats, and what was left out of them. Raises TraceError."""
    if muri_file is not None and philly is None and clusters is None:
        return {muri.CLUSTER: muri.read_muri(muri_file, *_size(size))}, {}
    if muri_file is None and philly is not None and clusters is not None and size is None:
        found = read_philly(philly, clusters)
        return found.by_cluster, found.left_out
    raise TraceError("give either --muri FILE, with --size where it is not 8x8, or --philly FILE and --clusters FILE")


def _size(size: str | None) -> tuple[int, int]:
    if size is None:
        return muri.NODES, muri.CARDS_PER_NODE
    nodes, _, cards = size.partition("x")
    if not all(part.isascii() and part.isdigit() and len(part) <= 6 and int(part) for part in (nodes, cards)):
        raise TraceError(f"--size {size} is not allowed; nodes x cards, such as 8x8, is")
    return int(nodes), int(cards)
