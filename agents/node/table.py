"""A node report as people read it."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scheduler.contract.inventory import Accelerator, NodeReport, Process

GIB, MIB = 2**30, 2**20
UNKNOWN = "-"
WIDE = 120
"""Columns of a terminal from which a card's clock, links and processes are in the table; `--json` always has them."""


def print_report(report: NodeReport) -> None:
    console = Console(highlight=False)
    driver = f", driver {report.driver_version}" if report.driver_version else ""
    driver += f", toolkit {report.toolkit_version}" if report.toolkit_version else ""
    console.print(f"[bold]{escape(report.hostname)}[/]: {report.cpu_cores} cores, {report.memory_bytes / GIB:.0f} GiB{driver}")
    failed = [result for result in report.probes if result.error]
    if report.accelerators:
        console.print(_table(report.accelerators, wide=console.width >= WIDE))
        for card in report.accelerators:
            if card.processes:
                users = ", ".join(map(_process, card.processes))
                console.print(f"{escape(card.uuid)} is used by {escape(users)}", soft_wrap=True)
            if card.health_reasons:
                reasons = escape(", ".join(card.health_reasons))
                console.print(f"[yellow]{escape(card.uuid)} is {card.health}: {reasons}[/]", soft_wrap=True)
    elif not failed:
        console.print("No accelerators: this is a CPU-only node.")
    for result in failed:
        console.print(f"[red]probe {result.probe}: {escape(result.error or '')}[/]", soft_wrap=True)


def _table(cards: list[Accelerator], *, wide: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
    for heading in (
        "#",
        "model",
        "class",
        "health",
        "memory",
        "busy",
        "power",
        "temp",
        *(("clock", "PCIe", "links", "procs") if wide else ()),
    ):
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
            *(_more(card) if wide else ()),
            escape(card.uuid),
        )
    return table


def _more(card: Accelerator) -> tuple[str, ...]:
    pcie = f"{_measured(card.pcie_generation, 1)}×{_measured(card.pcie_width, 1)}" if card.pcie_width else UNKNOWN
    return _measured(card.sm_clock_mhz, 1, " MHz"), pcie, _measured(card.link_count, 1), _measured(card.process_count, 1)


def _process(process: Process) -> str:
    memory = "" if process.memory_bytes is None else f" ({process.memory_bytes / MIB:.0f} MiB)"
    return f"{process.name or 'a process'} {process.pid}{memory}"


def _measured(value: int | None, per_unit: int, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{value / per_unit:.0f}{unit}"
