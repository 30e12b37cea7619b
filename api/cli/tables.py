"""What people read: tables and colours on a terminal, plain text elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from scheduler.contract.inventory import Inventory
from scheduler.contract.job import JobView, TaskPage
from scheduler.domain.states import JobState

STATE_STYLES = {
    "running": "green",
    "succeeded": "green",
    "queued": "yellow",
    "held": "yellow",
    "failed": "red",
    "unreachable": "red",
    "cancelled": "dim",
}

SECONDS_PER_HOUR = 3600
UNITS = {"accelerator": "card", "cpu": "core", "memory": "GiB"}
"""What is held of an item."""

WIDTH_ELSEWHERE = 190
"""Columns where there is no terminal to ask, such as a file."""


def console() -> Console:
    """Standard output, as wide as its terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_ELSEWHERE)


def card_hours(card_seconds: int) -> str:
    """Card-hours with four places; exact card-seconds stay in the records."""
    return f"{Decimal(card_seconds) / SECONDS_PER_HOUR:.4f}"


def print_jobs(to: Console, jobs: Sequence[JobView], title: str | None = None) -> None:
    """Where each job is, what it has cost, and why it is where it is. Amounts are CNY, as posted so far."""
    table = Table(title=title, title_justify="left")
    for heading in ("job", "state", "where", "class"):
        table.add_column(heading, overflow="fold")
    for heading in ("card-hours", "cost", "voucher", "net"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for job in jobs:
        costs = job.costs
        placed = job.cluster and job.state not in ("queued", "held")
        table.add_row(
            job.spec.name,
            f"[{STATE_STYLES.get(job.state, 'cyan')}]{job.state if job.tasks is None else counted_tasks(job.tasks)}[/]",
            f"{job.cluster}{' (recorded)' if job.recorded else ''}" if placed else "–",
            f"{job.hardware_class} {job.model}" if placed and job.model else "CPU" if placed else "–",
            card_hours(costs.card_seconds),
            costs.contracted_amount,
            costs.voucher_estimate,
            costs.net_amount,
            job.reasons[0].code if job.reasons else "–",
        )
    to.print(table)


def counted_tasks(tasks: Mapping[JobState, int]) -> str:
    """`40 running, 60 succeeded, 99900 queued`: the tasks of an array by state, as they go on."""
    return ", ".join(f"{tasks[state]} {state}" for state in reversed(JobState) if state in tasks)


def print_tasks(to: Console, page: TaskPage) -> None:
    """How each task of an array stands that has begun."""
    table = Table()
    for heading in ("task", "tries", "attempt", "failures", "losses"):
        table.add_column(heading, justify="right")
    table.add_column("state")
    for task in page.tasks:
        numbers = (task.index, task.tries, task.attempt, task.failures, task.losses)
        table.add_row(*map(str, numbers), f"[{STATE_STYLES.get(task.state, 'cyan')}]{task.state}[/]")
    to.print(table)
    to.print(f"tasks from {page.begun} on have not begun" + (f"; more with --after {page.next}" if page.next else ""))


def print_inventory(to: Console, inventory: Inventory) -> None:
    """Cards by cluster and model, recorded sites labelled so, and totals by class."""
    table = Table(title=f"inventory as of {inventory.as_of:%Y-%m-%d %H:%M:%S} UTC", title_justify="left")
    for heading in ("cluster", "class", "vendor", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("nodes", "cards", "healthy", "allocated", "free"):
        table.add_column(heading, justify="right")
    for row in inventory.rows:
        label = f"{row.cluster}{' (recorded)' if row.recorded else ''}"
        cards = f"{row.cards} ({row.partitioned} MIG)" if row.partitioned else row.cards
        counts = (row.nodes, cards, row.healthy, row.allocated, row.free)
        table.add_row(label, row.hardware_class, row.vendor, row.model, *map(str, counts))
        for each in row.instances:
            instances = ("", f"{each.count} instances", "", each.allocated, each.free)
            table.add_row("", "", "", f"{row.model} {each.profile}", *map(str, instances))
    for total in inventory.totals:
        sums = (total.cards, total.healthy, total.allocated, total.free)
        table.add_row("[bold]all[/]", f"[bold]{total.hardware_class}[/]", "", "", "", *(f"[bold]{each}[/]" for each in sums))
    to.print(table)
