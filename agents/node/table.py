"""A node report as people read it."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scheduler.contract.inventory import Accelerator, NodeReport

GIB = 2**30
UNKNOWN = "-"


def print_report(report: NodeReport) -> None:
    console = Console(highlight=False)
    driver = f", driver {report.driver_version}" if report.driver_version else ""
    driver += f", toolkit {report.toolkit_version}" if report.toolkit_version else ""
    console.print(f"[bold]{escape(report.hostname)}[/]: {report.cpu_cores} cores, {report.memory_bytes / GIB:.0f} GiB{driver}")
    failed = [result for result in report.probes if result.error]
    if report.accelerators:
        console.print(_table(report.accelerators))
        for card in report.accelerators:
            if card.health_reasons:
                reasons = escape(", ".join(card.health_reasons))
                console.print(f"[yellow]{escape(card.uuid)} is {card.health}: {reasons}[/]", soft_wrap=True)
    elif not failed:
        console.print("No accelerators: this is a CPU-only node.")
    for result in failed:
        console.print(f"[red]probe {result.probe}: {escape(result.error or '')}[/]", soft_wrap=True)


def _table(cards: list[Accelerator]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
    for heading in ("#", "model", "class", "health", "memory", "busy", "power", "temp"):
        table.add_column(heading, no_wrap=True)
    table.add_column("uuid", no_wrap=True, ratio=1)  # the one to be cut short on a narrow terminal; --json has it whole
    for card in cards:
        size = f"{card.memory_bytes / GIB:.0f}" if card.memory_bytes else UNKNOWN
        table.add_row(
            str(card.index),
            escape(f"{card.vendor} {card.model}"),
            card.hardware_class,
            card.health,
            f"{_measured(card.memory_used_bytes, GIB)}/{size} GiB",
            _measured(card.utilisation_percent, 1, " %"),
            _measured(card.power_milliwatts, 1000, " W"),
            _measured(card.temperature_celsius, 1, " °C"),
            escape(card.uuid),
        )
    return table


def _measured(value: int | None, per_unit: int, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{value / per_unit:.0f}{unit}"
