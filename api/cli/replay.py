"""`suanwang replay`: a recorded or generated trace through the real engine, as a table or as one JSON object."""

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from scheduler.replay import driver, openb
from scheduler.replay.arrivals import allocated_percent
from scheduler.replay.arrivals import read_trace as read_arrivals
from scheduler.replay.generate import generate as generate_trace
from scheduler.replay.generate import parse_recipe
from scheduler.replay.report import Report, report
from scheduler.replay.trace import Trace, TraceError

BAD_INPUT = 2


def replay(
    nodes: Annotated[Path | None, typer.Option(help="Node list of an openb trace (CSV).")] = None,
    pods: Annotated[Path | None, typer.Option(help="Pod list of an openb trace (CSV), with creation and deletion times.")] = None,
    arrivals: Annotated[
        Path | None, typer.Option(help="Orders of arrival (.txt or .txt.gz): pods come in one of them, and none ever leaves.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which of the orders of arrival.")] = None,
    generate: Annotated[str | None, typer.Option(help="A trace of our own instead: nodes=1500,jobs=8000,seed=1")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run a trace through the real scheduler on virtual time, and say how it went."""
    try:
        trace = _trace(nodes, pods, arrivals, seed, generate)
    except TraceError as error:
        typer.echo(f"replay: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from error
    found = measure(trace, in_order=arrivals is not None)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        Console().print(_table(found))


def measure(trace: Trace, in_order: bool = False) -> Report:
    """The report of a trace, timed on this machine; progress is shown on stderr where that is a terminal.

    `in_order`: the trace is one of `arrivals`; nodes are chosen by the demand so far, and the report says how full it got.
    """
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("replay", total=len(trace.jobs))
        start = time.perf_counter()
        shown = None if progress.disable else lambda left: progress.update(task, completed=left)
        outcome = driver.replay(trace, shown, by_demand=in_order)
        wall_seconds = time.perf_counter() - start
    found = report(outcome, wall_seconds, _peak_rss_bytes())
    return replace(found, allocated_percent=allocated_percent(trace, outcome)) if in_order else found


def _trace(nodes: Path | None, pods: Path | None, arrivals: Path | None, seed: int | None, recipe: str | None) -> Trace:
    if seed is not None and arrivals is None:
        raise TraceError("--seed chooses one of the orders of --arrivals FILE, which is missing")
    if recipe is not None and nodes is None and pods is None and arrivals is None:
        return generate_trace(parse_recipe(recipe))
    if recipe is None and nodes is not None and pods is not None:
        return openb.read_trace(nodes, pods) if arrivals is None else read_arrivals(nodes, pods, arrivals, seed)
    raise TraceError("give either --nodes FILE and --pods FILE, or --generate nodes=N,jobs=N,seed=N")


def _peak_rss_bytes() -> int:
    """The most memory this process has had resident. Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _table(found: Report) -> Table:
    """The keys of the JSON object as words, a figure a line; their units are in their names."""
    table = Table(title="replay", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for key, value in found.as_json().items():
        label = key.replace("_", " ")
        if isinstance(value, dict):
            for part, figure in value.items():
                table.add_row(f"{label}: {part}", _figure(figure))
        else:
            table.add_row(label, _figure(value))
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
