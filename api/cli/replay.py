"""`suanwang replay`: a recorded or generated trace through the real engine, as a table or as one JSON object."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from scheduler.replay import driver, openb
from scheduler.replay.generate import generate as generate_trace
from scheduler.replay.generate import parse_recipe
from scheduler.replay.report import Report, report
from scheduler.replay.trace import Trace, TraceError

BAD_INPUT = 2


def replay(
    nodes: Annotated[Path | None, typer.Option(help="Node list of an openb trace (CSV).")] = None,
    pods: Annotated[Path | None, typer.Option(help="Pod list of an openb trace (CSV), with creation and deletion times.")] = None,
    generate: Annotated[str | None, typer.Option(help="A trace of our own instead: nodes=1500,jobs=8000,seed=1")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run a trace through the real scheduler on virtual time, and say how it went."""
    try:
        trace = _trace(nodes, pods, generate)
    except TraceError as error:
        typer.echo(f"replay: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from error
    found = measure(trace)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        Console().print(_table(found))


def measure(trace: Trace) -> Report:
    """The report of a trace, timed on this machine; progress is shown on stderr where that is a terminal."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("replay", total=len(trace.jobs))
        start = time.perf_counter()
        outcome = driver.replay(trace, None if progress.disable else lambda left: progress.update(task, completed=left))
        wall_seconds = time.perf_counter() - start
    return report(outcome, wall_seconds, _peak_rss_bytes())


def _trace(nodes: Path | None, pods: Path | None, recipe: str | None) -> Trace:
    if recipe is not None and nodes is None and pods is None:
        return generate_trace(parse_recipe(recipe))
    if recipe is None and nodes is not None and pods is not None:
        return openb.read_trace(nodes, pods)
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
