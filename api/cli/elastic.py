"""`suanwang replay --itp`: clusters of elastic jobs with deadlines, each on its own or as one network, and how it went."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.workload import peak_rss_bytes, progress_of
from scheduler.engine.plan import Restart
from scheduler.replay.elastic import RESTART, Charges, replay
from scheduler.replay.elastic_report import ElasticReport, elastic_report, together
from scheduler.replay.itp import Cluster, read_cluster, read_curves
from scheduler.replay.trace import SECOND, TraceError

MAX_NODES = 100_000
MAX_RESTART_SECONDS = 86_400

_RESTART = re.compile(r"(\d{1,5})(?:,(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Clusters:
    """What was asked for: files with their nodes as `FILE:NODES`, and how to run them."""

    files: Sequence[str]
    throughputs: Path | None
    pool: bool = False
    rigid: bool = False
    restart: str | None = None


def measure_clusters(asked: Clusters) -> ElasticReport:
    """The report of all clusters, timed on this machine. Raises TraceError."""
    if asked.throughputs is None:
        raise TraceError("--itp needs --throughputs FOLDER with the scaling curves, MODEL.csv each")
    restart, curves = _restart(asked.restart), read_curves(asked.throughputs)
    clusters = [read_cluster(*_file(each), curves, asked.rigid) for each in asked.files]
    return measure(clusters, asked.pool, Charges(restart))


def measure(clusters: Sequence[Cluster], pool: bool, charges: Charges) -> ElasticReport:
    """The report of clusters, as one network with `pool` or each for itself."""
    networks = [clusters] if pool else [[cluster] for cluster in clusters]
    found, done = [], 0
    with progress_of("replay", sum(len(cluster.jobs) for cluster in clusters)) as progress:
        start = time.perf_counter()
        for network in networks:
            jobs = [job for cluster in network for job in cluster.jobs]
            if len({job.id for job in jobs}) < len(jobs):
                raise TraceError("the files of one network name a job twice; each job_id must be unique")
            found.append(replay(jobs, [cluster.nodes for cluster in network], charges))
            done += len(jobs)
            if progress is not None:
                progress(done)
        wall_seconds = time.perf_counter() - start
    return elastic_report(*together(found), wall_seconds, peak_rss_bytes())


def _file(text: str) -> tuple[Path, int]:
    name, colon, nodes = text.rpartition(":")
    if not (colon and name and nodes.isascii() and nodes.isdigit() and len(nodes) < 7 and 1 <= int(nodes) <= MAX_NODES):
        raise TraceError(
            f"--itp {text}: FILE:NODES is needed, such as cluster06.csv:64, with 1 to {MAX_NODES} nodes of eight cards"
        )
    return Path(name), int(nodes)


def _restart(text: str | None) -> Restart:
    if text is None:
        return RESTART
    found = _RESTART.fullmatch(text)
    if found is None or int(found[1]) > MAX_RESTART_SECONDS or int(found[2] or 0) > MAX_RESTART_SECONDS:
        raise TraceError(f"--restart {text}: SECONDS or SECONDS,PER_DOUBLING is allowed, up to {MAX_RESTART_SECONDS}, such as 54,2")
    return Restart(int(found[1]) * SECOND, int(found[2] or 0) * SECOND)
