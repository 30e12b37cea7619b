"""`suanwang replay`: a recorded or generated trace through the real engine, as a table or as one JSON object."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from api.cli.elastic import Clusters, measure_clusters
from api.cli.service import measure_service, read_services
from api.cli.workload import measure_workload, peak_rss_bytes, progress_of
from scheduler.replay import driver, openb
from scheduler.replay.arrivals import allocated_percent
from scheduler.replay.arrivals import read_trace as read_arrivals
from scheduler.replay.elastic_report import ElasticReport
from scheduler.replay.formats import read_workload
from scheduler.replay.generate import generate as generate_trace
from scheduler.replay.generate import parse_recipe
from scheduler.replay.policy import parse_policy
from scheduler.replay.report import Report, report
from scheduler.replay.service_report import ServiceReport
from scheduler.replay.trace import Trace, TraceError
from scheduler.replay.workload_report import WorkloadReport

BAD_INPUT = 2

_CHOICE = (
    "give either --nodes FILE and --pods FILE, or --generate nodes=N,jobs=N,seed=N, or --workload FILE, "
    "or --itp FILE:NODES and --throughputs FOLDER, or --muri FILE, or --philly FILE and --clusters FILE"
)


def replay(
    nodes: Annotated[Path | None, typer.Option(help="Node list of an openb trace (CSV).")] = None,
    pods: Annotated[Path | None, typer.Option(help="Pod list of an openb trace (CSV), with creation and deletion times.")] = None,
    arrivals: Annotated[
        Path | None, typer.Option(help="Orders of arrival (.txt or .txt.gz): pods come in one of them, and none ever leaves.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which of the orders of arrival.")] = None,
    generate: Annotated[str | None, typer.Option(help="A trace of our own instead: nodes=1500,jobs=8000,seed=1")] = None,
    workload: Annotated[Path | None, typer.Option(help="A workload in Kueue's generator format or ours (YAML).")] = None,
    clock: Annotated[
        str, typer.Option(help="For a workload: virtual, or real (arrivals and runtimes pass as they are).")
    ] = "virtual",
    store: Annotated[
        str,
        typer.Option(help="For a workload: where admissions are committed; memory (nowhere), sqlite, or the URL of a database."),
    ] = "memory",
    itp: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE:NODES", help="A cluster of Microsoft's ITP traces on so many nodes of eight cards; may be repeated."
        ),
    ] = None,
    throughputs: Annotated[Path | None, typer.Option(help="For --itp: folder of the scaling curves, MODEL.csv each.")] = None,
    pool: Annotated[
        bool, typer.Option("--pool", help="For --itp: all clusters as one network, instead of each for itself.")
    ] = False,
    rigid: Annotated[bool, typer.Option("--rigid", help="For --itp: every job only at the width it was submitted with.")] = False,
    restart: Annotated[
        str | None,
        typer.Option(metavar="SECONDS[,PER_DOUBLING]", help="For --itp: what a start, another width or a move costs a job (54,2)."),
    ] = None,
    muri: Annotated[Path | None, typer.Option(help="A trace of Muri's (CSV): jobs that can be interrupted.")] = None,
    size: Annotated[str | None, typer.Option(help="For --muri: nodes x cards of the cluster, 8x8 if not given.")] = None,
    philly: Annotated[Path | None, typer.Option(help="The jobs of a Philly trace (CSV), which can be interrupted too.")] = None,
    clusters: Annotated[Path | None, typer.Option(help="For --philly: the nodes of each virtual cluster (CSV).")] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="For --muri and --philly: order=age|shortest|least-attained, told=exact|x2|x10|user-limit|nothing, "
            "discipline=strict|backfill|reschedule, checkpoint=SECONDS, min-run=SECONDS, patience=PERCENT; joined by commas."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run a trace or a workload through the real scheduler, and say how it went."""
    found: Report | WorkloadReport | ElasticReport | ServiceReport
    try:
        if muri or philly or clusters or size or policy is not None:
            _check_for_workload_only(clock, store)
            if nodes or pods or arrivals or generate or workload or itp:
                raise TraceError(_CHOICE)
            traces, left_out = read_services(muri, philly, clusters, size)
            found = measure_service(traces, parse_policy(policy or ""), left_out)
        elif itp:
            _check_for_workload_only(clock, store)
            if nodes or pods or arrivals or generate or workload:
                raise TraceError(_CHOICE)
            found = measure_clusters(Clusters(itp, throughputs, pool, rigid, restart))
        elif throughputs or pool or rigid or restart:
            raise TraceError("--throughputs, --pool, --rigid and --restart are for --itp FILE:NODES, which is missing")
        elif workload is None:
            _check_for_workload_only(clock, store)
            found = measure(_trace(nodes, pods, arrivals, seed, generate), in_order=arrivals is not None)
        elif nodes or pods or arrivals or generate:
            raise TraceError(_CHOICE)
        else:
            found = measure_workload(read_workload(workload), clock, store)
    except TraceError as error:
        typer.echo(f"replay: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from error
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        Console().print(_table(found))


def measure(trace: Trace, in_order: bool = False) -> Report:
    """The report of a trace, timed on this machine; progress is shown on stderr where that is a terminal.

    `in_order`: the trace is one of `arrivals`; nodes are chosen by the demand so far, and the report says how full it got.
    """
    with progress_of("replay", len(trace.jobs)) as progress:
        start = time.perf_counter()
        outcome = driver.replay(trace, progress, by_demand=in_order)
        wall_seconds = time.perf_counter() - start
    found = report(outcome, wall_seconds, peak_rss_bytes())
    return replace(found, allocated_percent=allocated_percent(trace, outcome)) if in_order else found


def _trace(nodes: Path | None, pods: Path | None, arrivals: Path | None, seed: int | None, recipe: str | None) -> Trace:
    if seed is not None and arrivals is None:
        raise TraceError("--seed chooses one of the orders of --arrivals FILE, which is missing")
    if recipe is not None and nodes is None and pods is None and arrivals is None:
        return generate_trace(parse_recipe(recipe))
    if recipe is None and nodes is not None and pods is not None:
        return openb.read_trace(nodes, pods) if arrivals is None else read_arrivals(nodes, pods, arrivals, seed)
    raise TraceError(_CHOICE)


def _check_for_workload_only(clock: str, store: str) -> None:
    if (clock, store) != ("virtual", "memory"):
        raise TraceError("--clock and --store are for a --workload: a trace runs on virtual time and keeps nothing")


def _table(found: Report | WorkloadReport | ElasticReport | ServiceReport) -> Table:
    """The keys of the JSON object as words, a figure a line; their units are in their names."""
    table = Table(title="replay", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for label, value in _lines(found.as_json()):
        table.add_row(label, value if isinstance(value, str) else _figure(value))
    return table


def _lines(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure with its label; those of a group are named after it."""
    for key, value in found.items():
        # words at the top; below it are codes and names of other people's, which stay as they are
        label = f"{above}: {key}" if above else key.replace("_", " ")
        if isinstance(value, Mapping):
            yield from _lines(value, label)
        else:
            yield label, value


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
